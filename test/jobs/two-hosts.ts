import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { adopt, findAdoptable } from '../../jobs/adopt.js';
import { pin } from '../../jobs/pin.js';
import { prune } from '../../jobs/prune.js';
import { recover } from '../../jobs/recover.js';
import type { GuestConfig } from '../../src/config/config.js';
import { fillStores } from '../../src/copies/fill-stores.js';
import { findCopy } from '../../src/copies/find-copy.js';
import { isError } from '../../src/errors.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { recoverAtStart } from '../../src/job/recover-at-start.js';
import { recordOf } from '../../src/snapshot/describe-snapshot.js';
import { ensureOwner, listOwn } from '../../src/snapshot/ownership.js';
import { PhaseJournal } from '../../src/snapshot/phase-journal.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import type { Owner } from '../../src/store/manifest.js';
import type { Store } from '../../src/store/store.js';
import { isSound } from '../../src/store/stored-snapshots.js';
import { TarStore } from '../../src/store/tar/tar-store.js';
import { findTargets } from '../../src/verify/verify-targets.js';
import { below, oneOf, type Random } from '../campaign/campaign.js';
import { jobEnd, jobStart } from '../history/records-of-tests.js';
import { isWhole } from '../store/capture-of-tests.js';
import { configIn, makeKeyCheap, storeOf } from '../store/restic/restic-places.js';
import { sealSparse } from '../store/sparse-snapshots.js';

/**
 * Two hosts, each with a state and a store of its own, and one place that both use, with one guest name; and a model of what has to be
 * in it. Both take their snapshots in the same second often, as by one crontab.
 */

export type Kind = 'directory' | 'tar' | 'restic';

const guest = 'web';
const isDrilled = () => false;
const keptLast = 2;

interface Host {
  name: string;
  state: string;
  owner: Owner;
  history: SqliteHistory;
  local: DirectoryStore;
  place: Store;
  config: GuestConfig;
}

/** What is to be in the shared place, by the jobs that made it. */
interface Modelled {
  host: string;
  takenAt: string;
  pinned: boolean;
}

export class TwoHosts {
  /** How often each kind of operation was done. */
  readonly done: Record<string, number> = {};
  readonly #random: Random;
  readonly #hosts: Host[];
  readonly #model = new Map<string, Modelled>();
  #seconds = 0;
  #jobs = 0;

  private constructor(random: Random, hosts: Host[]) {
    this.#random = random;
    this.#hosts = hosts;
  }

  static async set(kind: Kind, dir: string, random: Random): Promise<TwoHosts> {
    const hosts: Host[] = [];
    for (const name of ['here', 'there']) {
      const state = join(dir, name);
      await mkdir(state, { mode: 0o700 });
      const history = await SqliteHistory.open(join(state, 'history.db'));
      const owner = { ...(await ensureOwner(state, history)), host: name };
      const local = new DirectoryStore({ name: 'local', path: join(dir, `${name}-store`) });
      const place = await placeOf(kind, dir, state);
      for (const store of [local, place])
        await history.rememberStore(store.name, (await store.prepare(null)).id);
      if (kind === 'restic' && name === 'here') await makeKeyCheap(join(dir, 'repository'));
      const facts = { name: guest, disks: [], keep: { last: keptLast }, timezone: 'UTC', store: 'local' };
      const config = { ...facts, otherStores: [place.name] } as unknown as GuestConfig;
      hosts.push({ name, state, owner, history, local, place, config });
    }
    return new TwoHosts(random, hosts);
  }

  close(): void {
    for (const { history } of this.#hosts) history.close();
  }

  /** One operation, and a look whether the place is as the model says. @throws what is wrong */
  async step(): Promise<void> {
    const host = oneOf(this.#random, this.#hosts);
    const operations = [
      ...Array.from({ length: 4 }, () => 'backUp' as const),
      ...(['prune', 'pin', 'pin', 'verify', 'recover', 'removeStale'] as const),
      ...(below(this.#random, 4) === 0 ? (['adopt', 'removeAdopted'] as const) : []),
    ];
    const operation = oneOf(this.#random, operations);
    this.done[operation] = (this.done[operation] ?? 0) + 1;
    await this[operation](host);
    await this.#look(`${operation} by ${host.name}`);
  }

  /** A snapshot is taken, and carried into the place with all that it lacks; what has expired of ours goes. */
  async backUp(host: Host): Promise<void> {
    if (below(this.#random, 2) === 0) this.#seconds += 1;
    const at = new Date(Date.UTC(2026, 10, 21, 3, 15, this.#seconds));
    const snapshot = `${guest}@${at.toISOString().replace(/[-:]|\.\d+/g, '')}`;
    const job = `job-${host.name}-${++this.#jobs}`;
    await host.history.startJob(jobStart(job, { guest }));
    if (!(await host.local.list(guest)).some((stored) => stored.snapshot === snapshot)) {
      const images = { ubd0: { bytes: Buffer.alloc(5000, `${job} `) } };
      const { manifest } = await sealSparse(host.local, snapshot, images, {
        ...{ owner: host.owner, job, takenAt: at.toISOString() },
      });
      await host.history.recordSnapshot(recordOf('local', manifest, 'own'));
    }
    const stores = { capturedInto: host.local, isStaging: false, filled: [host.place] };
    const { config, state: stateDirectory, history } = host;
    const journal = new PhaseJournal(
      job,
      history,
      () => {},
      () => {},
    );
    const { signal } = new AbortController();
    const [filled] = await fillStores({ config, stores, stateDirectory, signal }, { history, journal });
    await history.finishJob(job, jobEnd());
    if (!filled || filled.problems.length > 0) throw new Error(`filling failed: ${filled?.problems}`);
    if (filled.renamed.length > 0) this.done.renamed = (this.done.renamed ?? 0) + filled.renamed.length;
    for (const stored of (await host.local.list(guest)).filter(isSound)) {
      const { job: of, takenAt, pinned } = stored.manifest;
      if (!this.#model.has(of)) this.#model.set(of, { host: host.name, takenAt, pinned });
    }
    this.#expire(host);
  }

  async prune({ config, state: stateDirectory, history, local, place, name }: Host): Promise<void> {
    const summary = await prune(
      config,
      { dryRun: false },
      { stateDirectory, history, stores: [local, place] },
    );
    if (summary.status !== 'success') throw new Error(`prune: ${JSON.stringify(summary)}`);
    this.#expire({ name });
  }

  async pin(host: Host): Promise<void> {
    const listed = (await host.place.list(guest)).filter(isSound);
    if (listed.length === 0) return;
    const { snapshot, manifest } = oneOf(this.#random, listed);
    const pinned = !manifest.pinned;
    const { state: stateDirectory, history, place } = host;
    const isOurs = manifest.owner?.id === host.owner.id;
    try {
      await pin(snapshot, pinned, { stateDirectory, history, stores: [place], isDrilled });
      if (!isOurs) throw new Error(`${host.name} pinned ${snapshot}, which is the other's`);
      const modelled = this.#model.get(manifest.job);
      if (modelled) modelled.pinned = pinned;
      // As `pin` does with all stores of a config.
      await pin(snapshot, pinned, { stateDirectory, history, stores: [host.local], isDrilled }).catch(
        () => {},
      );
    } catch (error) {
      if (isOurs || !isError(error, 'SnapshotOfOther')) throw error;
    }
  }

  /** The newest of its own, whatever the other has. */
  async #latest({ name, state: stateDirectory, history, local, place }: Host): Promise<void> {
    const deps = { stateDirectory, history, stores: [local, place], isDrilled };
    const expected = [...this.#model].filter(([, { host }]) => host === name).map(([job]) => job);
    try {
      const { stored } = await findCopy(deps, { name: `${guest}@latest` });
      if (isSound(stored) && expected.includes(stored.manifest.job)) return;
      throw new Error(`${name} takes ${stored.snapshot} for its latest`);
    } catch (error) {
      if (!isError(error, 'NoSuchSnapshot') || expected.length > 0) throw error;
    }
  }

  async verify(host: Host): Promise<void> {
    const { state: stateDirectory, place, history, owner } = host;
    const deps = { stateDirectory, stores: [place], history, isDrilled };
    const { targets } = await findTargets({ of: 'guest', guest }, deps, history, {
      now: new Date(),
      everyCopy: false,
    });
    const others = targets.filter(({ stored }) => !isSound(stored) || stored.manifest.owner?.id !== owner.id);
    if (others.length > 0)
      throw new Error(`${others.map(({ stored }) => stored.snapshot)} would be verified`);
    await this.#latest(host);
  }

  /** The history of the host says of the place what is in it. */
  async recover(host: Host): Promise<void> {
    const { state: stateDirectory, history, local, place } = host;
    const recovered = await recoverAtStart(history, []);
    await recover(
      { stateDirectory, history, stores: [local, place], scratchPlaces: [], guests: [] },
      recovered,
    );
    if (recovered.problems.length > 0) throw new Error(`recover: ${recovered.problems}`);
    const own = (await history.snapshots({ store: place.name, own: true })).map(({ job }) => job).sort();
    const modelled = [...this.#model].filter(([, { host: of }]) => of === host.name).map(([job]) => job);
    if (own.join() !== modelled.sort().join()) throw new Error(`${host.name} knows ${own}, not ${modelled}`);
  }

  /** What is the other's is not to be had by who does not even look. */
  async removeStale(host: Host): Promise<void> {
    const others = (await host.place.list(guest))
      .filter(isSound)
      .filter(({ manifest }) => manifest.owner?.id !== host.owner.id);
    const [other] = others;
    if (!other) return;
    const taken = { ...other, manifest: { ...other.manifest, owner: host.owner } };
    await expectChanged(() => host.place.moveToTrash(taken));
  }

  /** As it is meant: the other is gone, and may come back with nothing of its own. */
  async adopt(host: Host): Promise<void> {
    const { state: stateDirectory, history, place, local } = host;
    const deps = { stateDirectory, history, stores: [local, place] };
    const other = this.#hosts.find(({ name }) => name !== host.name);
    try {
      const adoptable = await findAdoptable({ of: other?.owner.id ?? '' }, deps);
      const summary = await adopt({ of: other?.owner.id ?? '' }, adoptable, deps, () => {});
      if (summary.error) throw new Error(`adopt: ${summary.error.message}`);
      for (const { stored } of adoptable.found) {
        const modelled = isSound(stored) && this.#model.get(stored.manifest.job);
        if (modelled) modelled.host = host.name;
      }
      for (const { snapshot } of (await other?.local.list(guest)) ?? []) await other?.local.remove(snapshot);
    } catch (error) {
      if (!isError(error, 'NothingToAdopt')) throw error;
    }
  }

  /** The other adopts between the look and the removal. */
  async removeAdopted(host: Host): Promise<void> {
    const [mine] = await listOwn(host.place, guest, host.history);
    const other = this.#hosts.find(({ name }) => name !== host.name);
    if (!mine || !other) return;
    await this.adopt(other);
    await expectChanged(() => host.place.moveToTrash(mine));
  }

  #expire({ name }: Pick<Host, 'name'>): void {
    const own = [...this.#model].filter(([, { host }]) => host === name);
    const last = own.sort(([, a], [, b]) => (a.takenAt < b.takenAt ? 1 : -1)).slice(0, keptLast);
    const kept = new Set(last.map(([job]) => job));
    for (const [job, { pinned }] of own) if (!pinned && !kept.has(job)) this.#model.delete(job);
  }

  async #look(after: string): Promise<void> {
    const { place } = oneOf(this.#random, this.#hosts);
    const listed = (await place.list(guest)).filter(isSound);
    const found: string[] = [];
    for (const stored of listed) {
      const { job, owner, pinned } = stored.manifest;
      const host = this.#hosts.find((one) => one.owner.id === owner?.id)?.name;
      found.push(`${job} of ${host}${pinned ? ', pinned' : ''}`);
      const disk = stored.manifest.disks[0]?.sha256;
      if (this.#hashes.get(job) === undefined && disk) this.#hashes.set(job, disk);
      if (this.#hashes.get(job) !== disk || (place.type !== 'restic' && !(await isWhole(place, stored))))
        throw new Error(`${stored.snapshot} has not the bytes of ${job}, after ${after}`);
    }
    const names = new Set(listed.map(({ snapshot }) => snapshot));
    if (names.size < listed.length) throw new Error(`two have one name, after ${after}`);
    const modelled = [...this.#model].map(
      ([job, { host, pinned }]) => `${job} of ${host}${pinned ? ', pinned' : ''}`,
    );
    const [is, should] = [found.sort().join('; '), modelled.sort().join('; ')];
    if (is !== should) throw new Error(`after ${after} there is\n${is}\ninstead of\n${should}`);
  }

  readonly #hashes = new Map<string, string>();
}

async function placeOf(kind: Kind, dir: string, state: string): Promise<Store> {
  const path = join(dir, 'place');
  if (kind === 'directory') return new DirectoryStore({ name: 'shared', path });
  if (kind === 'tar') return new TarStore({ name: 'shared', path, compression: 'none' });
  return storeOf(await configIn(state, join(dir, 'repository')));
}

async function expectChanged(removal: () => Promise<unknown>): Promise<void> {
  try {
    await removal();
  } catch (error) {
    if (isError(error, 'SnapshotChanged') || isError(error, 'NoSuchSnapshot')) return;
    throw error;
  }
  throw new Error("what is another's was removed");
}
