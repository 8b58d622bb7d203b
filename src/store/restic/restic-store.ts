import { join } from 'node:path';
import { defaultLargestSnapshotBytes, type ResticStoreConfig } from '../../config/store-config.js';
import { isError, UmlsnapError } from '../../errors.js';
import type { ImageContent } from '../../image/image-content.js';
import type { ImageWorkOptions } from '../../image/image-work.js';
import { requirePlainName } from '../layout.js';
import type { Manifest } from '../manifest.js';
import { requireOrdinary } from '../receive.js';
import type { SnapshotContent, Store } from '../store.js';
import { onStore } from '../store-failure.js';
import { isSound, type SoundSnapshot, type StoredSnapshot } from '../stored-snapshots.js';
import { backUp } from './back-up.js';
import { type HandOver, withHandOver } from './hand-over.js';
import { backingPath, diskPath, type Look, lookAtEntry } from './look-at-entry.js';
import { ManifestCache } from './manifest-cache.js';
import { findRepository, prepareRepository } from './prepare-repository.js';
import { idsOf, ResticCatalogue, storedOf } from './restic-catalogue.js';
import { pinnedTag } from './restic-entries.js';
import { failureOf, inOneLine } from './restic-failure.js';
import { damageAfterPatience, resticImage } from './restic-image.js';
import { defaultPatience, type PatienceLimits } from './restic-patience.js';
import { ResticProgram } from './restic-program.js';

/**
 * Snapshots in a repository of restic: deduplicated, encrypted, on any place that restic knows. Each one of ours is one of
 * restic's, and plain restic brings it back (`restic restore ID --target DIR`).
 *
 * Every method throws StoreNotMounted, StoreUnusable or StoreTooFull for what restic says against the repository.
 */
export class ResticStore implements Store {
  readonly type = 'restic';
  readonly #restic: ResticProgram;
  readonly #catalogue: ResticCatalogue;
  readonly #work: string;
  readonly #staging: string;
  readonly largestSnapshotBytes: number;

  constructor(
    config: ResticStoreConfig,
    patience: PatienceLimits = defaultPatience,
    largestSnapshotBytes = defaultLargestSnapshotBytes,
  ) {
    this.largestSnapshotBytes = largestSnapshotBytes;
    this.#restic = new ResticProgram(config, patience);
    this.#staging = config.staging;
    // A name that a directory store leaves alone that may be made of the staging.
    this.#work = join(config.staging, '.umlsnap-store-restic', requirePlainName(config.name));
    this.#catalogue = new ResticCatalogue(this.#restic, new ManifestCache(join(this.#work, 'manifests')));
  }

  get name(): string {
    return this.#restic.place.name;
  }

  get path(): string {
    return this.#restic.place.path;
  }

  async prepare(expectedId: string | null): Promise<{ id: string; created: boolean }> {
    return await prepareRepository(this.#restic, expectedId);
  }

  async isMounted(expectedId: string | null): Promise<boolean> {
    return (await findRepository(this.#restic, expectedId)) !== undefined;
  }

  /** What restic reads with a lock writes one, and removes it. */
  async proveWritable(): Promise<void> {
    await this.#on(() => this.#restic.run(['snapshots', '--json', '--quiet', '--latest', '1']));
  }

  async list(guest?: string): Promise<StoredSnapshot[]> {
    return await this.#on(async () => {
      const held = await this.#catalogue.held(guest);
      const listed = [...held.values()].flatMap((one) => storedOf(one) ?? []);
      return listed.sort((a, b) => order(a.guest, b.guest) || order(b.snapshot, a.snapshot));
    });
  }

  async read(snapshot: string): Promise<StoredSnapshot> {
    return await this.#on(async () => (await this.#catalogue.find(snapshot)).stored);
  }

  /** What it added to the repository is not what its removal would give back. */
  async storedBytesOf(): Promise<null> {
    return null;
  }

  async openFile(stored: SoundSnapshot, file: string): Promise<ImageContent> {
    const disk = stored.manifest.disks.find((one) => one.file === file);
    return this.#open(stored, file, disk && { path: diskPath(file), sizeBytes: disk.sizeBytes });
  }

  async openBacking(stored: SoundSnapshot, file: string): Promise<ImageContent> {
    const backing = stored.manifest.disks.find((one) => one.backing?.file === file)?.backing;
    return this.#open(stored, file, backing && { path: backingPath(file), sizeBytes: backing.sizeBytes });
  }

  /**
   * The order is the promise: every file MUST be held against its checksum before restic sees it, and MUST NOT have changed when
   * restic is done; then restic's snapshot, which comes into being with restic's last write, is read back for its list of files
   * and its manifest. After any error what restic made of it is removed again, and until then it is no snapshot of ours if
   * anything of it is missing.
   */
  async receive(source: SnapshotContent, options: ImageWorkOptions): Promise<Manifest> {
    const { snapshot, guest } = source.manifest;
    requireOrdinary(source.manifest);
    await this.#on(() => this.#refuseExisting(snapshot, guest, options.signal));
    const neededBytes = source.manifest.disks.reduce((sum, disk) => sum + disk.storedBytes, 0);
    const staging = { name: this.name, path: this.#staging };
    return await onStore(staging, neededBytes, () =>
      withHandOver(this.#work, source, options, (handOver) =>
        this.#on(() => this.#takeOver(source.manifest, handOver, options)),
      ),
    );
  }

  /** `forget` of exact ids, looked up now: only what has our tags, our name and the guest as its host is ever removed. */
  async moveToTrash(snapshot: string): Promise<unknown> {
    return await this.#on(async () => {
      const found = await this.#catalogue.find(snapshot);
      await this.#catalogue.forget(found.stored.guest, idsOf(found));
      return { snapshot: found.stored.snapshot };
    });
  }

  /**
   * Gives back the room of what this process has removed. Bounded: what is half in use is rewritten only beyond a tenth of the
   * repository, and a GiB of it at a time; the next removal goes on.
   */
  async emptyTrash(): Promise<void> {
    if (!this.#catalogue.hasForgotten) return;
    const limits = ['--max-unused', '10%', '--max-repack-size', '1G'];
    await this.#on(() => this.#restic.run(['prune', '--quiet', ...limits], { mayBeSilent: true }));
    this.#catalogue.hasForgotten = false;
  }

  async setPinned(snapshot: string, pinned: boolean): Promise<Manifest> {
    return await this.#on(async () => {
      const found = await this.#catalogue.find(snapshot);
      const { stored } = found;
      if (!isSound(stored)) throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: stored.damaged });
      if (stored.manifest.pinned === pinned) return stored.manifest;
      const change = pinned ? '--add' : '--remove';
      // restic writes a snapshot with the other tags, of another id, before it removes this one.
      await this.#restic.run(['tag', '--quiet', change, pinnedTag, ...idsOf(found)]);
      const { stored: changed } = await this.#catalogue.find(stored.snapshot);
      if (isSound(changed) && changed.manifest.pinned === pinned) return changed.manifest;
      throw this.#unusable(`restic did not ${pinned ? 'add' : 'remove'} the tag of ${stored.snapshot}`);
    });
  }

  /**
   * Has restic read a part of all that lies in the repository, and hold it against its own checksums: also what no snapshot of
   * ours would show, such as a damaged index or a pack that another's snapshot needs.
   * @param readDataPercent 1 to 100, chosen anew at each run
   */
  async checkRepository(
    readDataPercent: number,
    signal?: AbortSignal,
  ): Promise<{ ok: true } | { ok: false; problem: string }> {
    try {
      const args = ['check', '--quiet', `--read-data-subset=${readDataPercent}%`];
      await this.#restic.run(args, { signal, mayBeSilent: true });
      return { ok: true };
    } catch (error) {
      const isVerdict = isError(error, 'CommandFailed') && failureOf(error) === 'dataDamaged';
      if (isVerdict) return { ok: false, problem: inOneLine(error.facts.problem) };
      // What is gone it tries to load again and again.
      const tried = await damageAfterPatience(this.#restic, error);
      if (tried !== undefined) return { ok: false, problem: tried };
      throw await this.#restic.named(error);
    }
  }

  #open(
    stored: SoundSnapshot,
    file: string,
    found: { path: string; sizeBytes: number } | undefined,
  ): ImageContent {
    const { snapshot } = stored;
    if (found === undefined)
      throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: `${file} is missing` });
    return resticImage(this.#restic, { snapshot, id: idIn(stored), ...found });
  }

  /** @throws SnapshotExists; what was left incomplete of the same guest is removed */
  async #refuseExisting(snapshot: string, guest: string, signal: AbortSignal | undefined): Promise<void> {
    const held = await this.#catalogue.held(guest, signal);
    const incomplete = [...held.values()].filter(({ look }) => look.is === 'incomplete');
    await this.#catalogue.forget(guest, incomplete.flatMap(idsOf));
    const there = held.get(snapshot);
    if (there === undefined || there.look.is === 'incomplete') return;
    throw new UmlsnapError('SnapshotExists', { store: this.name, snapshot });
  }

  async #takeOver(manifest: Manifest, handOver: HandOver, options: ImageWorkOptions): Promise<Manifest> {
    const { snapshot, guest } = manifest;
    const { id, isComplete } = await backUp(this.#restic, manifest, handOver, options);
    try {
      await handOver.requireUntouched();
      const look: Look = isComplete
        ? await lookAtEntry(this.#restic, { id, snapshot }, options.signal)
        : { is: 'incomplete', missing: 'a file' };
      if (look.is === 'whole' && look.manifest.checksum === manifest.checksum) {
        await this.#catalogue.remember(look.tree, look.manifest);
        return manifest;
      }
      const what = look.is === 'incomplete' ? `${look.missing} is missing` : 'its manifest reads differently';
      throw this.#unusable(`what restic made of ${snapshot} is not what it was given: ${what}`);
    } catch (error) {
      // The first failure is the one that counts. What is incomplete is in no list, and the next one removes it.
      await this.#catalogue.forget(guest, [id]).catch(() => {});
      throw error;
    }
  }

  #unusable(problem: string): UmlsnapError {
    return new UmlsnapError('StoreUnusable', { store: this.name, path: this.path, problem });
  }

  async #on<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw await this.#restic.named(error);
    }
  }
}

function idIn({ directory, snapshot }: SoundSnapshot): string {
  const id = /^restic ([0-9a-f]{64})$/.exec(directory)?.[1];
  if (id !== undefined) return id;
  throw new UmlsnapError('Internal', { problem: `${snapshot} is not from a store of restic: ${directory}` });
}

const order = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
