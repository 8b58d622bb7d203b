import { chownSync, lstatSync, renameSync, symlinkSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { canTrace, withInjected } from '../capture/traced.js';
import { startScript } from '../support/script-child.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

test.runIf(process.getuid?.() === 0 && (await canTrace()))(
  'a link put in the place of a socket gives its maker nothing: in his own directory he is free to do that at any moment',
  () =>
    withTempDir(async (dir) => {
      const [path, victim, link] = [join(dir, 's'), join(dir, 'victim'), join(dir, 'link')];
      await writeFile(victim, 'precious', { mode: 0o600 });
      symlinkSync(victim, link);
      chownSync(dir, 12345, -1);
      const child = startScript(new URL('./notify-rights-child.ts', import.meta.url), [path, '12345']);
      try {
        await child.waitForLine('ready');
        const slowly = 'chown,fchownat,chmod,fchmodat:delay_enter=700000';
        await withInjected(child.pid, [slowly], async () => {
          child.go();
          await waitFor('the socket', () => lstatSync(path, { throwIfNoEntry: false })?.isSocket());
          renameSync(link, path);
          await child.waitForLine('listening');
        });
        expect(lstatSync(victim)).toMatchObject({ uid: 0, mode: 0o100600 });
      } finally {
        child.kill('SIGKILL');
        await child.exited;
      }
    }),
);
