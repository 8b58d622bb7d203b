import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { processesOfSession } from '../support/guest-processes.js';
import { builtScript } from '../support/script-child.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

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
