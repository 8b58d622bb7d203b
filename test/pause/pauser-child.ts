import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { toSentError, UmlsnapError } from '../../src/errors.js';
import { HostView } from '../../src/guest/host-view.js';
import { BlockingConsole } from '../../src/mconsole/blocking-console.js';
import type { PauseOrder } from '../../src/pause/capture-messages.js';
import { pause, pauseRequests } from '../../src/pause/pause.js';
import { PausePage } from '../../src/pause/pause-page.js';

/**
 * Pauses a guest as the capture process does, and holds the pause until it is told to go on: by a file, since it does nothing else. What
 * the file says is what its capture fails with.
 */

const [page, held] = [new PausePage(4), process.argv[2] ?? ''];
const bell = new Int32Array(new SharedArrayBuffer(4));

const capture = {
  isCheap: true,
  takeAhead: () => {},
  takeRest: () => {
    writeFileSync(`${held}.held`, '');
    while (!existsSync(`${held}.goOn`)) Atomics.wait(bell, 0, 0, 2);
    const problem = readFileSync(`${held}.goOn`, 'utf8');
    for (const end of ['held', 'goOn']) rmSync(`${held}.${end}`);
    if (problem !== '') throw new UmlsnapError('CaptureFailed', { guest: 'debian', device: 'ubd0', problem });
  },
  prove: () => {},
};

process.on('disconnect', () => process.exit());
process.on('message', async ({ socketPath, main, ioTasks, terms, huntMs }: PauseOrder) => {
  // It would look for a moment to stop for ever.
  if (huntMs !== null) return;
  const console = await BlockingConsole.open(socketPath);
  console.bindAhead(pauseRequests);
  const host = new HostView({ main, ioTasks });
  const { end, pausedMs, marks } = pause(
    { main, console, host, page, capture },
    { ...terms, readiness: { type: 'busy' }, acceptsDirty: true },
  );
  if (end.type !== 'resumed') {
    process.send?.({ type: 'broken', how: end.type });
    if (end.type !== 'unresolved') console.close();
    return;
  }
  const error = end.error === null ? null : toSentError(end.error);
  process.send?.({
    type: 'paused',
    pausedMs,
    marks,
    look: end.look,
    disks: end.isCaptured ? new Map() : null,
    error,
  });
  console.close();
});
