import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { processesOfSession } from '../support/guest-processes.js';
import { bootGuest, withGuest } from '../support/real-guest.js';
import { builtScript } from '../support/script-child.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

let dir: string;
beforeAll(async () => {
  dir = await makeTempDir();
});
afterAll(() => removeTempDir(dir));

describe('a real guest', () => {
  test('boots, says so on its console, runs commands and keeps writing; paused, it answers the shell only after it resumes; halted, it leaves no process behind', async () => {
    await withGuest({ dir }, async (guest) => {
      await guest.waitForConsole(/umlsnap test guest is up/);
      expect(await guest.sh('echo "two  words"; echo and a line >&2')).toBe('two  words\nand a line');
      await expect(guest.sh('echo before; exit 3')).rejects.toThrow(/exit 3: .*\nbefore/);
      expect(await guest.sh('seq 1 20000')).toHaveLength(108_893);
      const logged = async () => Number(await guest.sh('wc -l < /data/log 2>/dev/null || echo 0'));
      const before = await logged();
      await waitFor('further lines in the log', async () => (await logged()) > before);
      expect(await guest.mconsole('version')).toMatch(/^Linux /);
      expect(await guest.mconsole('config ubd0')).toBe(guest.diskPath);

      await guest.mconsole('stop');
      let answered = false;
      const answer = guest.sh('echo awake').finally(() => {
        answered = true;
      });
      await guest.mconsole('proc uptime');
      expect(answered).toBe(false);
      await guest.mconsole('go');
      expect(await answer).toBe('awake');

      expect(guest.processes().length).toBeGreaterThan(1);
      await guest.halt();
      expect(guest.processes()).toEqual([]);
    });
  });

  test('beside another one has its own name, disks and shell, and leaves no process behind when it is killed', async () => {
    await withGuest({ dir, cow: true, disks: [{ sizeMiB: 16 }] }, (first) =>
      withGuest({ dir, writer: 'heavy' }, async (second) => {
        expect(first.umid).not.toBe(second.umid);
        await first.sh('echo one > /ubd1/mine; sync');
        await expect(second.sh('cat /ubd1/mine')).rejects.toThrow(/No such file/);
        expect(await first.sh('cat /ubd1/mine')).toBe('one');
        expect(await first.mconsole('config ubd0')).toBe(`${first.diskPath},${first.disks[0]?.backing}`);
        await waitFor('heavy writes', async () => (await second.sh('ls /data')).includes('heavy'));
        expect(second.processes().length).toBeGreaterThan(1);
        await second.kill();
        expect(second.processes()).toEqual([]);
        expect(await first.sh('echo on')).toBe('on');
      }),
    );
  });

  test('whose test process is killed goes with it', async () => {
    const script = builtScript(new URL('../support/boot-and-wait-child.ts', import.meta.url));
    const owner = spawn(process.execPath, [script, dir], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [text] = (await once(owner.stdout, 'data')) as [Buffer];
    const session = Number(text.toString());
    expect(processesOfSession(session).length).toBeGreaterThan(1);
    owner.kill('SIGKILL');
    await waitFor('the guest to end', () => processesOfSession(session).length === 0);
  });

  test('that does not boot is reported with the end of its console', async () => {
    const booted = bootGuest({ dir, extraArgs: ['init=/nothing/there', 'panic=1'] });
    await expect(booted).rejects.toThrow(/did not boot: its console ends with\n(.*\n)*.*panic/i);
  });
});
