import { join } from 'node:path';
import { expect, test } from 'vitest';
import { backupInTurn, type Turn } from '../../jobs/backup-in-turn.js';
import { guestLocks } from '../../jobs/guest-locks.js';
import { storesOf } from '../../src/compose.js';
import { guestNamed } from '../../src/config/guest-named.js';
import { loadConfig } from '../../src/config/load-config.js';
import { withLocks } from '../../src/exclusive-lock.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { withTempDir } from '../support/temp-dir.js';
import { VerifyScene } from './verify-scene.js';

/** Which work on its guest a backup that is due waits for. The guest does not run: a backup that gets its turn says so. */

interface Scene {
  due(turn?: Turn, signal?: AbortSignal): ReturnType<typeof backupInTurn>;
  /** Runs `use` while somebody else who describes himself like this works on the guest. */
  whileWorking<T>(holder: string, use: () => Promise<T>): Promise<T>;
}

function withScene(use: (scene: Scene) => Promise<void>): Promise<void> {
  return withTempDir(async (dir) => {
    const { config: file } = await VerifyScene.set(dir);
    const config = await loadConfig(file);
    const guest = guestNamed(config, 'debian');
    const history = await SqliteHistory.open(join(config.state, 'history.db'));
    const house = { stateDirectory: config.state, stores: storesOf(config, guest), history };
    await use({
      due: (turn, signal = new AbortController().signal) => {
        const order = { config: guest, labels: {}, pinned: false, dryRun: false, signal };
        return backupInTurn({ ...order, trigger: 'schedule' }, house, turn);
      },
      whileWorking: async (holder, work) => {
        const locks = await guestLocks('prune', guest, [], config.state);
        return await withLocks({ ...locks, holder, wait: false }, work);
      },
    }).finally(() => history.close());
  });
}

const hadItsTurn = { kind: 'backup', status: 'failed', error: { code: 'NoMconsoleSocket' } };

test('a prune that is under way when a backup is due does not cost the backup: it comes after it', () =>
  withScene(async ({ due, whileWorking }) => {
    let backup: ReturnType<typeof due> | undefined;
    await whileWorking('umlsnap prune (pid 1) since noon', () => {
      return new Promise<void>((putOff) => {
        backup = due({ onPutOff: ({ facts }) => putOff(expect(facts.holder).toContain('prune')) });
      });
    });
    expect(await backup).toMatchObject(hadItsTurn);
    expect(await due({ onPutOff: () => expect.unreachable() })).toMatchObject(hadItsTurn);
  }));

test.each(['umlsnap backup (pid 1) since noon', 'umlsnap restore (pid 1) since noon', 'somebody'])(
  'what takes the place of a backup that is due, or leaves no guest to back up, skips it: %s',
  (holder) =>
    withScene(({ due, whileWorking }) =>
      whileWorking(holder, async () => {
        const backup = due({ onPutOff: () => expect.unreachable() });
        await expect(backup).rejects.toMatchObject({ code: 'Busy', facts: { holder } });
      }),
    ),
);

test('work that goes on for too long is told as what was in the way', () =>
  withScene(({ due, whileWorking }) =>
    whileWorking('umlsnap doctor (pid 1) since noon', async () => {
      const backup = due({ patienceMs: 50 });
      await expect(backup).rejects.toMatchObject({ code: 'Busy', facts: { what: 'Guest debian' } });
    }),
  ));

test('a backup that waits for its turn can be given up', () =>
  withScene(({ due, whileWorking }) =>
    whileWorking('umlsnap dry-run (pid 1) since noon', async () => {
      const controller = new AbortController();
      const backup = due({ onPutOff: () => controller.abort(new Error('given up')) }, controller.signal);
      await expect(backup).rejects.toThrow('given up');
    }),
  ));
