import { beforeAll, expect, test } from 'vitest';
import { compactUtc } from '../../src/clock.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { capture, draftOf } from '../store/capture-of-tests.js';
import { setScene } from '../support/scene.js';
import { buildClockShim } from '../support/shims.js';

/** The command itself, on a store that others have filled, under a clock that is really wrong (fault 56). */

const day = 86_400;
const startedMs = Date.now();
const scene = setScene({ guest: null });
let store: DirectoryStore;
let skewedBy: Awaited<ReturnType<typeof buildClockShim>>;

beforeAll(async () => {
  skewedBy = await buildClockShim(scene.dir);
  store = new DirectoryStore({ name: 'local', path: scene.store });
  await store.prepare(null);
  await scene.own();
  const keep = { last: 1, within: '1h' };
  const disks = { ubd0: scene.path('no-disk') };
  await scene.configure({ debian: { mconsole: scene.path('no-socket'), disks, keep } });
});

/** Of so many hours before this test began. */
async function seal(hoursAgo: number): Promise<string> {
  const taken = new Date(startedMs - hoursAgo * 3_600_000);
  const incoming = await store.begin('debian', `job-${hoursAgo}`);
  const facts = { takenAt: taken.toISOString() };
  const draft = draftOf(incoming, await capture(incoming), compactUtc(taken), facts);
  return (await store.seal(incoming, draft)).snapshot;
}

const prune = (env: Record<string, string> = {}, ...options: string[]) =>
  scene.start(['prune', 'debian', ...options], { env }).exited;
const listed = async () => (await store.list()).map(({ snapshot }) => snapshot);

test('tells what it removes and what it keeps, with all reasons, to people and to programs, and only tells on a dry run', async () => {
  const names = [await seal(1.5), await seal(8), await seal(9)];
  const table = await prune({}, '--dry-run');
  expect(table.exitCode).toBe(0);
  const rows = table.stdout.split('\n').filter((line) => line.startsWith('debian@'));
  const unasked = 'no keep rule asks for it';
  expect(rows.map((row) => row.trim().split(/ {2,}/))).toEqual([
    [names[2], 'local', 'remove', unasked],
    [names[1], 'local', 'remove', unasked],
    [names[0], 'local', 'keep', 'last: 1 of 1, within: young enough, the newest good snapshot'],
  ]);
  const reasons = ['last: 1 of 1', 'within: young enough', 'the newest good snapshot'];
  expect((await prune({}, '--dry-run', '--json')).json).toMatchObject([
    { type: 'verdict', snapshot: names[2], verdict: 'remove', reasons: [unasked] },
    { type: 'verdict', snapshot: names[1], verdict: 'remove' },
    { type: 'verdict', snapshot: names[0], verdict: 'keep', reasons },
    { type: 'summary', kind: 'prune', dryRun: true, backings: [{ store: 'local', removed: [], held: null }] },
  ]);
  expect(await listed()).toHaveLength(3);
  expect((await prune()).exitCode).toBe(0);
  expect(await listed()).toEqual([names[0]]);
});

test('under a clock that is a day ahead, a day behind, in 1970 or in 2100 removes nothing and exits 3, until somebody says that it is right', async (context) => {
  if (!skewedBy) return context.skip('there is no gcc');
  const [older] = await listed();
  const newest = await seal(0);
  const epoch = Math.floor(startedMs / 1000);
  const skews = { '1970': -epoch, '2100': 4_102_444_800 - epoch, 'a day ahead': day, 'a day behind': -day };
  for (const [name, skew] of Object.entries(skews)) {
    const stderr = expect.stringMatching(/The clock (was set back|leapt ahead).*--clock-is-right/);
    expect(await prune(skewedBy(skew)), name).toMatchObject({ exitCode: 3, stderr });
    expect(await listed()).toEqual([newest, older]);
  }
  expect(await prune(skewedBy(day), '--clock-is-right')).toMatchObject({ exitCode: 0 });
  expect(await listed()).toEqual([newest]);
});
