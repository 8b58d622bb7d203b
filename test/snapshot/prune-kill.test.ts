import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cp, open, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recover } from '../../jobs/recover.js';
import type { Recovered } from '../../jobs/recover-at-start.js';
import type { GuestConfig } from '../../src/config/config.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { recordOf } from '../../src/snapshot/describe-snapshot.js';
import { retain } from '../../src/snapshot/retain.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { isSound } from '../../src/store/stored-snapshots.js';
import { canTrace, withInjected } from '../capture/traced.js';
import { capture, draftOf } from '../store/capture-of-tests.js';
import { builtScript } from '../support/script-child.js';
import { makeTempDir, removeTempDir, roomInMemory } from '../support/temp-dir.js';

/** Every way in which a prune changes anything, on disk or in the history; a name for each kind of machine. */
const changing = ['mkdir,mkdirat', 'renameat2', 'fsync', 'fdatasync', 'pwrite64', 'unlink,unlinkat', 'rmdir'];
const traceable = process.getuid?.() === 0 && (await canTrace());
/** A prune in a process of its own, so that it can be killed. */
const script = builtScript(new URL('./prune-child.ts', import.meta.url));

const config = { name: 'debian', keep: { last: 1 }, timezone: 'UTC' } as GuestConfig;
const now = new Date('2026-11-21T12:00:00.000Z');
const expired = ['debian@20261121T010000Z', 'debian@20261121T020000Z'];
const kept = ['debian@20261121T030000Z', 'debian@20261121T040000Z', 'other@20261121T010000Z'];

let template: string;
let dir: string;
let neededBacking: string;
beforeAll(async () => {
  template = await makeTempDir(await roomInMemory());
  const store = new DirectoryStore({ name: 'local', path: join(template, 'store') });
  const history = await SqliteHistory.open(join(template, 'history.db'));
  const { id } = await store.prepare(null);
  await history.rememberStore('local', id);
  for (const snapshot of [...expired, ...kept]) {
    const backing = snapshot === expired[0] ? 'unneeded' : 'needed';
    const manifest = await sealCow(store, snapshot, backing);
    await history.recordSnapshot(recordOf('local', manifest));
    if (backing === 'needed') neededBacking = manifest.disks[0]?.backing?.file ?? '';
  }
  const pinned = await store.setPinned(kept[0] ?? '', true);
  await history.recordSnapshot(recordOf('local', pinned));
  history.close();
}, 60_000);
afterAll(() => removeTempDir(template));

async function sealCow(store: DirectoryStore, snapshot: string, content: string) {
  const [guest = '', directory = ''] = snapshot.split('@');
  const incoming = await store.begin(guest, `job-${directory}`);
  const source = join(template, `${content}.img`);
  await writeFile(source, content.repeat(500));
  await utimes(source, 1_700_000_000, 1_700_000_000);
  const file = await open(source);
  const backing = await store.storeBacking(incoming, { device: 'ubd0', path: source, fd: file.fd });
  await file.close();
  const captured = await capture(incoming, { ubd0: Buffer.from(`disk of ${snapshot} `.repeat(300)) });
  const disks = captured.map((disk) => ({ ...disk, kind: 'cow' as const, backing }));
  const takenAt = directory.replace(/(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z/, '$1-$2-$3T$4:$5:$6.000Z');
  return await store.seal(incoming, draftOf(incoming, disks, directory, { takenAt }));
}

/** Runs the prune and kills it at the `when`th of these calls. @returns false when it came to its end before */
async function killedAt(calls: string, when: number): Promise<boolean> {
  const asked = JSON.stringify({ dir, config, now });
  // One pool thread: strace counts each thread's calls for themselves, and each call's.
  const env = { ...process.env, UV_THREADPOOL_SIZE: '1', NODE_OPTIONS: '' };
  const prune = spawn(process.execPath, [script, asked], { env });
  let said = '';
  prune.stdout.on('data', (text: Buffer) => {
    said += text.toString();
  });
  const ended = once(prune, 'close');
  await Promise.race([once(prune.stdout, 'data'), ended]);
  await withInjected(prune.pid ?? 0, [`${calls}:signal=KILL:when=${when}`], () => {
    prune.stdin.end('go');
    return ended;
  });
  if (!said.includes('done')) return true;
  expect(said).toContain('done 2 \n');
  return false;
}

/** Each is wholly there or wholly gone, and none that is to be kept is gone. @returns how many expired ones are there */
async function expectWhole(store: DirectoryStore, history: SqliteHistory): Promise<number> {
  const listed = await store.list();
  for (const stored of listed) {
    if (!isSound(stored)) throw new Error(`${stored.snapshot} is listed, and damaged: ${stored.damaged}`);
    for (const { file, sha256 } of stored.manifest.disks) {
      const content = await readFile(join(stored.directory, file));
      expect(createHash('sha256').update(content).digest('hex')).toBe(sha256);
    }
  }
  const names = listed.map(({ snapshot }) => snapshot);
  expect(names).toEqual(expect.arrayContaining(kept));
  // The history says that one is gone only when it is.
  const rows = (await history.snapshots({})).map(({ snapshot }) => snapshot);
  expect(rows).toEqual(expect.arrayContaining(names));
  return names.length - kept.length;
}

async function expectFinishedByTheNext(store: DirectoryStore, history: SqliteHistory): Promise<void> {
  const { warnings } = await retain(config, store, history, { now });
  expect(warnings).toEqual([]);
  expect((await store.list()).map(({ snapshot }) => snapshot).sort()).toEqual(kept);
  expect(await readdir(join(store.path, '.trash'))).toEqual([]);
  const contents = (await readdir(join(store.path, '.backing'))).filter((name) => name.endsWith('.img'));
  expect(contents).toEqual([neededBacking]);
  // A row that the history was not told to close is closed by recover, as at every start of a daemon.
  const recovered = { discarded: [], indexed: [], forgotten: [], problems: [] } as unknown as Recovered;
  await recover(
    { history, stores: [store], scratchPlaces: [], drillScratch: join(store.path, 'no-drills') },
    recovered,
  );
  expect((await history.snapshots({})).map(({ snapshot }) => snapshot).sort()).toEqual(kept);
}

describe.skipIf(!traceable)(`a prune${traceable ? '' : ' (skipped: needs root and strace)'}`, () => {
  test('killed at any system call that changes something leaves each snapshot whole or gone, no good one lost, and is finished by the next (fault 59)', async () => {
    const seen = new Map<number, number>();
    let kills = 0;
    for (const calls of changing) {
      for (let when = 1; ; when += 1) {
        dir = await makeTempDir(await roomInMemory());
        try {
          await cp(template, dir, { recursive: true });
          const wasKilled = await killedAt(calls, when);
          const store = new DirectoryStore({ name: 'local', path: join(dir, 'store') });
          const history = await SqliteHistory.open(join(dir, 'history.db'));
          const left = await expectWhole(store, history);
          await expectFinishedByTheNext(store, history);
          history.close();
          if (!wasKilled) break;
          kills += 1;
          seen.set(left, (seen.get(left) ?? 0) + 1);
          expect(when).toBeLessThan(100);
        } finally {
          await rm(dir, { recursive: true, force: true });
        }
      }
    }
    // Before, between and after the two removals: otherwise this has proved nothing.
    expect([...seen.keys()].sort()).toEqual([0, 1, 2]);
    expect(kills).toBeGreaterThan(25);
  }, 300_000);
});
