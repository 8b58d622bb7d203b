import { expect, test } from 'vitest';
import { processesOfSession } from '../support/guest-processes.js';
import { startScript } from '../support/script-child.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

test('a guest whose test process is killed goes with it', () =>
  withTempDir(async (dir) => {
    const owner = startScript(new URL('../support/boot-and-wait-child.ts', import.meta.url), [dir]);
    const session = Number(await waitFor('its guest', () => owner.lines[0], { limitMs: 120_000 }));
    expect(processesOfSession(session).length).toBeGreaterThan(1);
    owner.kill('SIGKILL');
    await waitFor('the guest to end', () => processesOfSession(session).length === 0);
  }));
