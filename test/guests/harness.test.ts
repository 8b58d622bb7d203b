import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { processesOfSession } from '../support/guest-processes.js';
import { bootGuest, withGuest } from '../support/real-guest.js';
import { builtScript } from '../support/script-child.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

test('a guest runs commands, paused only after it resumes, beside another one with disks of its own, and halted leaves no process behind', () =>
  withTempDir((dir) =>
    withGuest({ dir, disks: [{ sizeMiB: 16 }] }, (guest) =>
      withGuest({ dir, writer: 'none' }, async (other) => {
        expect(await guest.sh('echo "two  words"; echo and a line >&2')).toBe('two  words\nand a line');
        await expect(guest.sh('echo before; exit 3')).rejects.toThrow(/exit 3: .*\nbefore/);
        expect(await guest.sh('seq 1 20000')).toHaveLength(108_893);
        await guest.sh('echo one > /ubd1/mine; sync');
        await expect(other.sh('cat /ubd1/mine')).rejects.toThrow(/No such file/);

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
        expect(await other.sh('echo on')).toBe('on');
      }),
    ),
  ));

test('a guest whose test process is killed goes with it', () =>
  withTempDir(async (dir) => {
    const script = builtScript(new URL('../support/boot-and-wait-child.ts', import.meta.url));
    const owner = spawn(process.execPath, [script, dir], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [text] = (await once(owner.stdout, 'data')) as [Buffer];
    const session = Number(text.toString());
    expect(processesOfSession(session).length).toBeGreaterThan(1);
    owner.kill('SIGKILL');
    await waitFor('the guest to end', () => processesOfSession(session).length === 0);
  }));

test('a guest that does not boot is reported with the end of its console', () =>
  withTempDir(async (dir) => {
    const booted = bootGuest({ dir, extraArgs: ['init=/nothing/there', 'panic=1'] });
    await expect(booted).rejects.toThrow(/did not boot: its console ends with\n(.*\n)*.*panic/i);
  }));
