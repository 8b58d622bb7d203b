import { beforeAll, describe, expect, test } from 'vitest';
import { chosenOf, type Foreign, findAdoptable } from '../../jobs/adopt.js';
import { recover } from '../../jobs/recover.js';
import { checkOwners } from '../../src/doctor/check-owners.js';
import { recoverAtStart } from '../../src/job/recover-at-start.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { adoptIn, ours, theirs } from '../store/capture-of-tests.js';
import { sealSparse, soundIn } from '../store/sparse-snapshots.js';
import { setScene } from '../support/scene.js';

/** Another host's snapshots in our store: what commands say of them, and how they become ours. */

const scene = setScene({ guest: null });
const mine = 'debian@20261121T031500Z';
const [other, second] = ['debian@20261122T031500Z', 'debian@20261123T031500Z'];
const nobodys = 'debian@20261124T031500Z';
let store: DirectoryStore;

beforeAll(async () => {
  store = new DirectoryStore({ name: 'local', path: scene.store });
  const { id } = await store.prepare(null);
  await scene.own();
  await scene.configure({ debian: { mconsole: scene.path('no'), disks: { ubd0: scene.path('no') } } });
  await scene.withHistory((history) => history.rememberStore('local', id));
  await sealSparse(store, mine);
  for (const snapshot of [other, second]) await sealSparse(store, snapshot, undefined, { owner: theirs });
  await sealSparse(store, nobodys, undefined, { format: 'umlsnap/1', owner: undefined });
});

const umlsnap = (...args: string[]) => scene.start(args, {}).exited;

test('each list tells whose they are, and a command that would change another’s names the owner, and changes nothing', async () => {
  const { json } = await umlsnap('list', '--json');
  expect(json).toMatchObject([
    { snapshot: mine, ownership: { type: 'own' } },
    { snapshot: other, ownership: { type: 'other', ...theirs } },
    { snapshot: second, ownership: { type: 'other', ...theirs } },
    { snapshot: nobodys, ownership: { type: 'unknown' } },
  ]);
  const refused = await umlsnap('pin', other);
  expect(refused.exitCode).toBe(1);
  expect(refused.stderr).toContain(`belongs to host there (${theirs.id})`);
  expect((await soundIn(store, other)).manifest.pinned).toBe(false);
  expect((await umlsnap('show', other)).stdout).toMatch(/^owner +host there \(c0ffee00-/m);
});

test('nothing is adopted unasked; then all of the host is, in the store first, and nothing of anybody else', async () => {
  const unasked = await umlsnap('adopt', 'there');
  expect(unasked.exitCode).toBe(2);
  expect(unasked.stderr).toContain('--yes');
  expect((await soundIn(store, other)).manifest.owner).toEqual(theirs);
  // As one that was killed between the store and the history.
  await adoptIn(store, second, ours);
  const adopted = await umlsnap('adopt', 'there', '--yes', '--json');
  expect(adopted.exitCode).toBe(0);
  expect(adopted.json).toMatchObject([
    { type: 'adopted', snapshot: other, store: 'local' },
    { type: 'summary', kind: 'adopt', status: 'success', adopted: [{ snapshot: other, store: 'local' }] },
  ]);
  expect((await soundIn(store, other)).manifest.owner?.id).toBe(ours.id);
  expect((await soundIn(store, nobodys)).manifest.owner).toBeUndefined();
  await scene.withHistory(async (history) => {
    const known = async () =>
      (await history.snapshots({ store: 'local', own: true })).map(({ snapshot }) => snapshot);
    expect(await known()).toEqual([other]);
    const recovered = await recoverAtStart(history, []);
    await recover(
      { stateDirectory: scene.state, history, stores: [store], scratchPlaces: [], guests: [] },
      recovered,
    );
    expect(recovered.problems).toEqual([]);
    expect(await known()).toEqual([second, other, mine]);
    const deps = { stateDirectory: scene.state, history, stores: [store] };
    const nothing = { code: 'NothingToAdopt', facts: { known: ['nobody known'] } };
    await expect(findAdoptable({ of: 'there' }, deps)).rejects.toMatchObject(nothing);
    const { found } = await findAdoptable({ of: 'unknown' }, deps);
    expect(found.map(({ stored }) => stored.snapshot)).toEqual([nobodys]);
  });
});

describe('whose are chosen', () => {
  const of = (ownership: Foreign['ownership']) => ({ ownership }) as Foreign;
  const [one, two] = [theirs, { ...theirs, id: ours.id }].map((owner) => of({ type: 'other', ...owner }));
  const foreign = [one, two, of({ type: 'unknown' })].filter((found) => found !== undefined);

  test('by a host’s name only if one state has it, and by the id of a state in any case', () => {
    const ambiguous = { code: 'HostAmbiguous', facts: { host: 'there', ids: [ours.id, theirs.id].sort() } };
    expect(() => chosenOf(foreign, 'there')).toThrow(expect.objectContaining(ambiguous));
    expect(chosenOf(foreign, theirs.id)).toEqual([one]);
    expect(chosenOf(foreign, 'unknown')).toEqual([of({ type: 'unknown' })]);
  });

  test('a doctor counts them by host, and only what is nobody’s is in want of somebody', () => {
    const ownerships = foreign.map(({ ownership }) => ownership);
    const [finding] = checkOwners('local', [...ownerships, { type: 'own' }]);
    expect(finding).toMatchObject({ level: 'warning', facts: { ofNobody: 1 } });
    expect(finding?.what).toContain(`1 of host there (${theirs.id})`);
    expect(checkOwners('local', ownerships.slice(0, 2))).toMatchObject([{ level: 'ok' }]);
    expect(checkOwners('local', [{ type: 'own' }])).toEqual([]);
  });
});
