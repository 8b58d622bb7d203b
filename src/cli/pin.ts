import { findSnapshot } from '../../jobs/find-snapshot.js';
import { storeLock } from '../../jobs/guest-locks.js';
import { allStores } from '../compose.js';
import { withLocks } from '../exclusive-lock.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { recordOf } from '../snapshot/describe-snapshot.js';
import { type Context, configOf } from './context.js';
import { emit, tell } from './output.js';
import { withStartedHouse } from './start.js';

/** `umlsnap pin NAME` and `unpin NAME`: a pinned snapshot is never removed by rule. */
export async function pinVerb(context: Context, name: string, pinned: boolean): Promise<ExitCode> {
  const config = await configOf(context);
  return await withStartedHouse(config, async ({ history }) => {
    const { store, stored } = await findSnapshot(allStores(config), name, history);
    const { snapshot, guest } = stored;
    const lock = {
      keys: [storeLock(store.path, guest)],
      holder: `umlsnap pin (pid ${process.pid})`,
      what: `Guest ${guest}`,
    };
    await withLocks({ ...lock, wait: true }, async () => {
      const manifest = await store.setPinned(snapshot, pinned);
      await history.recordSnapshot(recordOf(store.name, manifest));
    });
    emit(context.output, { type: 'summary', kind: pinned ? 'pin' : 'unpin', snapshot, pinned });
    tell(context.output, `${snapshot} is ${pinned ? 'pinned: no rule removes it' : 'not pinned any more'}.`);
    return exitCodes.done;
  });
}
