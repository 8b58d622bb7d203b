import { cp, readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recover } from '../../jobs/recover.js';
import type { Recovered } from '../../src/job/recover-at-start.js';
import type { GuestConfig } from '../../src/config/config.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { recordOf } from '../../src/snapshot/describe-snapshot.js';
import { retain } from '../../src/snapshot/retain.js';
import { canTrace } from '../capture/traced.js';
import { expectAllWhole, ours, pinIn } from '../store/capture-of-tests.js';
import { storeAt } from '../store/fresh-store.js';
import { sealSparse } from '../store/sparse-snapshots.js';
import { lookAfterEachCall, someOf } from '../support/each-call.js';
import { type ScriptChild, startScript } from '../support/script-child.js';
import { makeTempDir, removeTempDir, roomInMemory } from '../support/temp-dir.js';

const traceable = process.getuid?.() === 0 && (await canTrace());

const config = { name: 'debian', keep: { last: 1 }, timezone: 'UTC' } as GuestConfig;
const now = new Date('2026-11-21T12:00:00.000Z');
const expired = ['debian@20261121T010000Z', 'debian@20261121T020000Z'];
const kept = ['debian@20261121T030000Z', 'debian@20261121T040000Z', 'other@20261121T010000Z'];

let dir: string;
/** Of the template. Open to the end: its binding closes it when it is collected, and would take its WAL from under a copy. */
let history: SqliteHistory;
let neededBacking: string;
let copies = 0;
beforeAll(async () => {
  dir = await makeTempDir(await roomInMemory());
  const template = join(dir, 'template');
  const store = storeAt(join(template, 'store'));
  history = await SqliteHistory.open(join(template, 'history.db'));
  await history.rememberStateId(ours.id);
  const { id } = await store.prepare(null);
  await history.rememberStore('local', id);
  for (const snapshot of [...expired, ...kept]) {
    const backing = join(dir, snapshot === expired[0] ? 'unneeded' : 'needed');
    await writeFile(backing, backing.repeat(500));
    await utimes(backing, 1_700_000_000, 1_700_000_000);
    const bytes = Buffer.from(`disk of ${snapshot} `.repeat(300));
    const { manifest } = await sealSparse(store, snapshot, { ubd0: { bytes, backing } });
    await history.recordSnapshot(recordOf('local', manifest, 'own'));
    neededBacking = manifest.disks[0]?.backing?.file ?? '';
  }
  await history.recordSnapshot(recordOf('local', await pinIn(store, kept[0] ?? '', true), 'own'));
});
afterAll(async () => {
  history.close();
  await removeTempDir(dir);
});

/** Of a state whose owner stands still; what is shared of a database is nothing without an owner. @returns a place of its own */
async function copyOf(state: string): Promise<string> {
  const copy = join(dir, `copy-${copies++}`);
  await cp(state, copy, { recursive: true, filter: (path) => !path.endsWith('-shm') });
  return copy;
}

/** Runs a prune of a fresh copy to its end or its death, and looks while it stands still after each call that changes something. */
async function prune(look: (nth: number, child: ScriptChild, state: string) => Promise<unknown>) {
  const state = await copyOf(join(dir, 'template'));
  const asked = JSON.stringify({ dir: state, config, now });
  const env = { UV_THREADPOOL_SIZE: '1' };
  const child = startScript(new URL('./prune-child.ts', import.meta.url), [asked], env);
  await child.waitForLine('ready');
  const places = await lookAfterEachCall(child.pid, child.go, (nth) => look(nth, child, state));
  const { signal } = await child.exited;
  return { places, lines: child.lines, signal, state };
}

/** Each is wholly there or wholly gone, none that is to be kept is gone, and the next prune finishes. @returns how many expired ones there were */
async function expectGoodAndFinished(state: string): Promise<number> {
  const store = storeAt(join(state, 'store'));
  const history = await SqliteHistory.open(join(state, 'history.db'));
  const rows = async () => (await history.snapshots({})).map(({ snapshot }) => snapshot).sort();
  const names = await expectAllWhole(store);
  expect(names).toEqual(expect.arrayContaining(kept));
  // The history says that one is gone only when it is.
  expect(await rows()).toEqual(expect.arrayContaining(names));

  expect(await retain(config, store, history, { now })).toMatchObject({ warnings: [] });
  expect((await store.list()).map(({ snapshot }) => snapshot).sort()).toEqual(kept);
  expect(await readdir(join(store.path, '.trash'))).toEqual([]);
  const contents = (await readdir(join(store.path, '.backing'))).filter((name) => name.endsWith('.img'));
  expect(contents).toEqual([neededBacking]);
  // A row that the history was not told to close is closed by recover, as at every start of a daemon.
  const recovered = {
    scratch: [],
    discarded: [],
    indexed: [],
    forgotten: [],
    problems: [],
  } as unknown as Recovered;
  const places = { stateDirectory: join(store.path, '.state'), scratchPlaces: [] };
  await recover({ history, stores: [store], guests: [], ...places }, recovered);
  expect(await rows()).toEqual(kept);
  history.close();
  return names.length - kept.length;
}

describe.skipIf(!traceable)(`a prune${traceable ? '' : ' (skipped: needs root and strace)'}`, () => {
  test('killed at any system call that changes something leaves each snapshot whole or gone, no good one lost, and is finished by the next (fault 59)', async () => {
    const found: number[] = [];
    const { places, lines } = await prune(async (_nth, _child, state) => {
      found.push(await expectGoodAndFinished(await copyOf(state)));
    });
    expect(lines).toContain('done 2 ');
    expect(places).toBeGreaterThan(25);
    // Before, between and after the two removals: otherwise this has proved nothing.
    expect([...new Set(found)]).toEqual([2, 1, 0]);
    for (const place of someOf(places)) {
      const killed = await prune(async (nth, child) => nth >= place && child.kill('SIGKILL'));
      expect(killed.signal).toBe('SIGKILL');
      await expectGoodAndFinished(killed.state);
    }
  }, 600_000);
});
