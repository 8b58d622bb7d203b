import { join } from 'node:path';
import { defaultLargestSnapshotBytes, type ResticStoreConfig } from '../../config/store-config.js';
import { isError, UmlsnapError } from '../../errors.js';
import type { ImageContent } from '../../image/image-content.js';
import type { ImageWorkOptions } from '../../image/image-work.js';
import { requirePlainName } from '../layout.js';
import { type Manifest, amended } from '../manifest.js';
import { requireOrdinary, withMarksOf } from '../receive.js';
import type { Amendment, HealOptions, SnapshotContent, Store } from '../store.js';
import { type SoundSnapshot, type StoredSnapshot, requireSound } from '../stored-snapshots.js';
import { backingPath, diskPath } from './look-at-entry.js';
import { ManifestCache } from './manifest-cache.js';
import { findRepository, prepareRepository } from './prepare-repository.js';
import { type Held, idsOf, ResticCatalogue, storedOf } from './restic-catalogue.js';
import { ownerTags, pinnedTag } from './restic-entries.js';
import { failureOf, inOneLine } from './restic-failure.js';
import { damageAfterPatience, resticImage } from './restic-image.js';
import { ResticIntake } from './restic-intake.js';
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
  readonly #intake: ResticIntake;
  readonly largestSnapshotBytes: number;

  constructor(
    config: ResticStoreConfig,
    patience: PatienceLimits = defaultPatience,
    largestSnapshotBytes = defaultLargestSnapshotBytes,
  ) {
    this.largestSnapshotBytes = largestSnapshotBytes;
    this.#restic = new ResticProgram(config, patience);
    // A name that a directory store leaves alone that may be made of the staging.
    const work = join(config.staging, '.umlsnap-store-restic', requirePlainName(config.name));
    this.#catalogue = new ResticCatalogue(this.#restic, new ManifestCache(join(work, 'manifests')));
    this.#intake = new ResticIntake(this.#restic, this.#catalogue, { work, staging: config.staging });
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
      const listed = held.flatMap((one) => storedOf(one) ?? []);
      return listed.sort((a, b) => order(a.guest, b.guest) || order(b.snapshot, a.snapshot));
    });
  }

  async read(snapshot: string, isOwn?: (stored: StoredSnapshot) => boolean): Promise<StoredSnapshot> {
    return await this.#on(async () => (await this.#catalogue.find(snapshot, isOwn)).stored);
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
    requireOrdinary(source.manifest);
    await this.#on(() => this.#refuseExisting(source.manifest, options.signal));
    await this.#intake.store(source, options);
    return source.manifest;
  }

  /**
   * The order is the promise: restic's new snapshot MUST be whole, and every file of it read back, before the old ones of the same name
   * are forgotten; until then all of them are one snapshot of ours, read from the first that is whole. What restic holds of a
   * content already it does not store again, though it may be what is damaged: then its index is made anew of what there is, so that
   * it stores what is gone. A damaged pack MUST NOT be taken out by us: it holds what other snapshots, and other hosts, can still read; and
   * of two copies of one content nobody can say which one restic's prune keeps.
   */
  async heal(found: StoredSnapshot, source: SnapshotContent, options: HealOptions): Promise<Manifest> {
    const { snapshot, guest } = found;
    requireOrdinary(source.manifest);
    const damaged = await this.#on(() => this.#catalogue.findAgain(found));
    const manifest = withMarksOf(damaged.stored, source.manifest);
    const whole = { ...source, manifest };
    let id = await this.#intake.storeProven(whole, options);
    if (id === undefined) {
      await this.#on(() =>
        this.#restic.run(['rebuild-index', '--quiet'], { signal: options.signal, mayBeSilent: true }),
      );
      id = await this.#intake.storeProven(whole, options);
    }
    if (id === undefined)
      throw this.#unusable(
        `restic goes on giving out damaged data for ${snapshot}, and what it holds it does not store again. With restic 0.17 or newer, \`restic check --read-data\` names the damaged packs, and \`restic repair packs ID\` takes each of them out, but for what can still be read. After that, run \`umlsnap verify ${snapshot} --heal\` again`,
      );
    try {
      await options.onWhole?.(manifest);
    } catch (error) {
      // The first failure is the one that counts.
      await this.#catalogue.forget(guest, [id]).catch(() => {});
      throw error;
    }
    await this.#on(() => this.#catalogue.forget(guest, idsOf(damaged)));
    return manifest;
  }

  /**
   * `forget` of exact ids, looked up now: only what has our tags, our name, the guest as its host and the owner that was found is ever
   * removed. Whoever adopts it meanwhile gives it another id.
   */
  async moveToTrash(found: StoredSnapshot): Promise<unknown> {
    return await this.#on(async () => {
      const held = await this.#catalogue.findAgain(found);
      await this.#catalogue.forget(found.guest, idsOf(held));
      return { snapshot: found.snapshot };
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

  async amend(found: StoredSnapshot, change: Amendment): Promise<Manifest> {
    return await this.#on(async () => {
      const held = await this.#catalogue.findAgain(found);
      const { manifest } = requireSound(held.stored);
      const args = tagging(held.stored, change);
      if (args.length === 0) return manifest;
      // restic writes a snapshot with the other tags, of another id, before it removes this one.
      await this.#restic.run(['tag', '--quiet', ...args, ...idsOf(held)]);
      const wanted = amended(manifest, change);
      const { stored } = await this.#catalogue.findAgain({ ...held.stored, manifest: wanted });
      const changed = requireSound(stored).manifest;
      if (changed.checksum === wanted.checksum) return changed;
      throw this.#unusable(`restic did not change the tags of ${found.snapshot}`);
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

  /** @throws SnapshotExists; what was left incomplete of the same guest, and not by another owner, is removed */
  async #refuseExisting(
    { snapshot, guest, owner }: Manifest,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const held = await this.#catalogue.held(guest, signal);
    const isLeft = ({ look, entries }: Held) =>
      look.is === 'incomplete' && entries.every((entry) => !entry.owner || entry.owner.id === owner?.id);
    await this.#catalogue.forget(guest, held.filter(isLeft).flatMap(idsOf));
    if (held.some((one) => !isLeft(one) && one.entries[0]?.snapshot === snapshot))
      throw new UmlsnapError('SnapshotExists', { store: this.name, snapshot });
  }

  #unusable(problem: string): UmlsnapError {
    return new UmlsnapError('StoreUnusable', { store: this.name, path: this.path, problem });
  }

  async #on<T>(work: () => Promise<T>): Promise<T> {
    return await this.#restic.naming(work);
  }
}

/** Empty: it has them already. */
function tagging(stored: StoredSnapshot, change: Amendment): string[] {
  const { pinned, owner } = requireSound(stored).manifest;
  if ('pinned' in change) {
    if (change.pinned === pinned) return [];
    return [change.pinned ? '--add' : '--remove', pinnedTag];
  }
  const old = owner === undefined ? [] : ownerTags(owner).flatMap((tag) => ['--remove', tag]);
  return [...old, ...ownerTags(change.owner).flatMap((tag) => ['--add', tag])];
}

function idIn({ directory, snapshot }: SoundSnapshot): string {
  const id = /^restic ([0-9a-f]{64})$/.exec(directory)?.[1];
  if (id !== undefined) return id;
  throw new UmlsnapError('Internal', { problem: `${snapshot} is not from a store of restic: ${directory}` });
}

const order = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
