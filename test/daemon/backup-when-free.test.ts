import { expect, test } from 'vitest';
import { withApp } from '../../src/compose.js';
import { guestNamed } from '../../src/config/guest-named.js';
import { loadConfig } from '../../src/config/load-config.js';
import { backupWhenFree, type WaitOptions } from '../../src/daemon/backup-when-free.js';
import { guestLocks } from '../../src/job/guest-locks.js';
import { withLocks } from '../../src/locks/exclusive-lock.js';
import { setScene } from '../support/scene.js';

/** Which work on its guest a backup that is due waits for. The guest does not run: a backup that gets its turn says so. */

const guests = { debian: { mconsole: '/nowhere/mconsole', disks: { ubd0: '/nowhere/debian.img' } } };
const scene = setScene({ guest: null, config: { guests } });

async function due(options?: WaitOptions, signal = new AbortController().signal) {
  const config = await loadConfig(scene.config);
  const order = { config: guestNamed(config, 'debian'), labels: {}, pinned: false, dryRun: false, signal };
  return await withApp(config, (app) => {
    const { stateDirectory, history } = app;
    const around = { stateDirectory, history, stores: app.storesOf(order.config) };
    return backupWhenFree({ ...order, trigger: 'schedule' }, around, options);
  });
}

/** Runs `use` while somebody else who describes himself like this works on the guest. */
async function whileWorking<T>(holder: string, use: () => Promise<T>): Promise<T> {
  const config = await loadConfig(scene.config);
  const locks = await guestLocks('prune', guestNamed(config, 'debian'), [], config.state);
  return await withLocks({ ...locks, holder, wait: false }, use);
}

const hadItsTurn = { kind: 'backup', status: 'failed', error: { code: 'NoMconsoleSocket' } };

test('a prune that is under way when a backup is due does not cost the backup: it comes after it', async () => {
  let backup: ReturnType<typeof due> | undefined;
  await whileWorking('umlsnap prune (pid 1) since noon', () => {
    return new Promise<void>((putOff) => {
      backup = due({ onPutOff: ({ facts }) => putOff(expect(facts.holder).toContain('prune')) });
    });
  });
  expect(await backup).toMatchObject(hadItsTurn);
  expect(await due({ onPutOff: () => expect.unreachable() })).toMatchObject(hadItsTurn);
});

test.each(['umlsnap backup (pid 1) since noon', 'umlsnap restore (pid 1) since noon', 'somebody'])(
  'what takes the place of a backup that is due, or leaves no guest to back up, skips it: %s',
  (holder) =>
    whileWorking(holder, async () => {
      const backup = due({ onPutOff: () => expect.unreachable() });
      await expect(backup).rejects.toMatchObject({ code: 'Busy', facts: { holder } });
    }),
);

test('work that goes on for too long is told as what was in the way', () =>
  whileWorking('umlsnap doctor (pid 1) since noon', async () => {
    const backup = due({ patienceMs: 50 });
    await expect(backup).rejects.toMatchObject({ code: 'Busy', facts: { what: 'Guest debian' } });
  }));

test('a backup that waits for its turn can be given up', () =>
  whileWorking('umlsnap dry-run (pid 1) since noon', async () => {
    const controller = new AbortController();
    const backup = due({ onPutOff: () => controller.abort(new Error('given up')) }, controller.signal);
    await expect(backup).rejects.toThrow('given up');
  }));
