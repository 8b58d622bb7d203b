import { chmod, chown, mkdir, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createSocket } from 'unix-dgram';
import { describe, expect, test } from 'vitest';
import { errnoOf, UmlsnapError } from '../../src/errors.js';
import { openDisk } from '../../src/image/open-disk.js';
import { PinnedSocket } from '../../src/mconsole/pinned-socket.js';
import { HeldDirectory, PathRefused } from '../../src/path/held-directory.js';
import { restoreInPlace } from '../../src/restore/restore-in-place.js';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import { discardIncoming, findIncomings } from '../../src/store/incoming.js';
import { deleteTrash } from '../../src/store/trash.js';
import { storeSnapshot } from '../restore/stored-snapshot.js';
import { withTempDir } from '../support/temp-dir.js';
import { neighbour, whileSwapped } from './swapper.js';

/**
 * What root does by a path that another user can change, while he changes it as fast as he can: nothing of it may reach what is not his. Each
 * goes on for so long that on the code before it was broken within the first second.
 */

const atLeastMs = 10_000;
const image = { sizeBytes: 100_000, pieces: [{ offset: 0, length: 50_000 }] };

/** A directory of the neighbour's with `name` in it, a link `other` beside it that leads to a directory of root's, and that with a file of the same name. */
async function withVictim(use: (scene: { own: string; dir: string; victim: string }) => Promise<void>) {
  await withTempDir(async (dir) => {
    await chmod(dir, 0o711);
    const [own, victim] = [join(dir, 'own'), join(dir, 'victim')];
    await mkdir(own);
    await mkdir(join(own, 'vm'));
    await mkdir(victim, { mode: 0o700 });
    await writeFile(join(victim, 'root.img'), 'precious');
    await symlink(victim, join(own, 'link'));
    for (const path of [own, join(own, 'vm')]) await chown(path, neighbour, neighbour);
    await use({ own, dir, victim });
    expect(await readdir(victim)).toEqual(['root.img']);
    expect(await readFile(join(victim, 'root.img'), 'utf8')).toBe('precious');
  });
}

/** Does it again and again while the two change places. That it went well and was refused shows that they did. */
async function whileItChanges(pattern: string, other: string, work: () => Promise<unknown>): Promise<void> {
  let [done, refused] = [0, 0];
  await whileSwapped(pattern, other, async () => {
    const untilMs = performance.now() + atLeastMs;
    while (performance.now() < untilMs || done === 0 || refused === 0) {
      try {
        await work();
        done += 1;
      } catch (error) {
        const isRefusal = error instanceof UmlsnapError || error instanceof PathRefused || errnoOf(error);
        if (!isRefusal) throw error;
        refused += 1;
      }
    }
  });
}

/** False where the filesystem says no, as it does while others are at work. */
const went = (work: Promise<unknown>) =>
  work.then(
    () => true,
    (error: unknown) => (errnoOf(error) === undefined ? expect.fail(String(error)) : false),
  );

async function ownImage(path: string): Promise<void> {
  await writeFile(path, 'his own');
  await chown(path, neighbour, neighbour);
}

const options = () => ({ signal: new AbortController().signal });

describe
  .skipIf(process.getuid?.() !== 0)
  .concurrent('of a path that another user swaps for a link (needs root)', () => {
    test('a disk is never the disk of somebody else', () =>
      withVictim(async ({ own }) => {
        await ownImage(join(own, 'vm/root.img'));
        await whileItChanges(join(own, 'vm'), join(own, 'link'), async () => {
          const { handle } = await openDisk('debian', 'ubd0', join(own, 'vm/root.img'));
          const text = await handle.readFile('utf8').finally(() => handle.close());
          expect(text).toBe('his own');
        });
      }));

    test('a console is never the console of somebody else', () =>
      withTempDir(async (dir) => {
        await chmod(dir, 0o711);
        const [own, victim] = [join(dir, 'own'), join(dir, 'victim')];
        for (const path of [own, join(own, 'vm'), victim]) await mkdir(path);
        await symlink(victim, join(own, 'link'));
        const sockets = [join(own, 'vm/mconsole'), join(victim, 'mconsole')].map((path) => {
          const socket = createSocket('unix_dgram');
          socket.bind(path);
          return socket;
        });
        for (const path of [own, join(own, 'vm'), join(own, 'vm/mconsole')]) await chown(path, neighbour, -1);
        await whileItChanges(join(own, 'vm'), join(own, 'link'), async () => {
          const socket = await PinnedSocket.open(join(own, 'vm/mconsole'));
          socket.close();
          expect(socket.ownerUid).toBe(neighbour);
        });
        for (const socket of sockets) socket.close();
      }));

    test('a restore in place writes nothing into a directory of root', () =>
      withVictim(async ({ own, dir }) => {
        const source = await storeSnapshot(join(dir, 'store'), [{ device: 'ubd0', image }]);
        await ownImage(join(own, 'vm/root.img'));
        const targets = [{ device: 'ubd0', path: join(own, 'vm/root.img') }];
        await whileItChanges(join(own, 'vm'), join(own, 'link'), () =>
          restoreInPlace(source, targets, { ...options(), keepReplaced: false, now: new Date() }),
        );
      }));

    test('a restore to a directory writes nothing into a directory of root', () =>
      withVictim(async ({ own, dir }) => {
        const source = await storeSnapshot(join(dir, 'store'), [{ device: 'ubd0', image }]);
        let restores = 0;
        await whileItChanges(join(own, 'vm'), join(own, 'link'), () =>
          restoreToDirectory(source, join(own, 'vm', String(restores++)), options()),
        );
      }));

    // Of the last two the neighbour stands for whoever serves the share that the store is on.
    test.each([
      ['what is in a directory of his', 'tree', (held: HeldDirectory) => held.removeTree('tree')],
      [
        'what is in the trash of a store',
        '.trash/debian@20260102T030405Z.0123abcd',
        ({ path }: HeldDirectory) => deleteTrash({ name: 'local', path }),
      ],
      [
        'a snapshot in the making',
        'debian/.incoming-job',
        async ({ path }: HeldDirectory) => {
          for (const incoming of await findIncomings({ name: 'local', path }))
            await discardIncoming(incoming);
        },
      ],
    ])('a removal of %s takes nothing from a directory of root', (_, tree, remove) =>
      withVictim(async ({ own, dir, victim }) => {
        const [made, link] = [join(dir, 'made'), join(own, 'link')];
        await mkdir(join(own, dirname(tree)), { recursive: true });
        const held = await HeldDirectory.open(own);
        await whileSwapped(join(own, tree, '*'), link, async () => {
          const untilMs = performance.now() + atLeastMs;
          for (let removed = 0; performance.now() < untilMs || removed === 0; ) {
            for (let n = 0; n < 30; n++) {
              await mkdir(join(made, String(n), 'deeper'), { recursive: true });
              await chown(join(made, String(n)), neighbour, neighbour);
            }
            await chown(made, neighbour, neighbour);
            // What a removal that was refused has left is still there.
            await went(rename(made, join(own, tree)));
            if (await went(remove(held))) removed += 1;
            // It went with the tree, and a directory of it may have its place.
            if ((await held.stat('link'))?.isSymbolicLink()) continue;
            if (await went(held.removeTree('link'))) await went(symlink(victim, link));
          }
        }).finally(() => held.close());
      }),
    );
  });
