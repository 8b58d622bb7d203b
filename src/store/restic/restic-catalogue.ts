import { UmlsnapError } from '../../errors.js';
import { splitSnapshotName } from '../layout.js';
import { type Manifest, amended, manifestSha256 } from '../manifest.js';
import { type StoredSnapshot, isStill, requireStill } from '../stored-snapshots.js';
import { type Look, lookAtEntry } from './look-at-entry.js';
import type { ManifestCache } from './manifest-cache.js';
import { listEntries, type ResticEntry } from './restic-entries.js';
import type { ResticProgram } from './restic-program.js';

/** Several runs of restic at once: each begins with a second of deriving the key, and a remote place takes its time to answer. */
const looksAtOnce = 4;

/**
 * One snapshot of ours, and restic's of it: more than one where somebody was killed while he pinned it. All of these are of one
 * name, one owner and the same files: what is another's, or another thing, MUST NOT be tagged or forgotten with it.
 */
export interface Held {
  entries: ResticEntry[];
  look: Look;
}

export type FoundHeld = Held & { stored: StoredSnapshot };

export const idsOf = ({ entries }: Held): string[] => entries.map(({ id }) => id);

/** What of the repository is ours. Every method throws as `ResticProgram.run`. */
export class ResticCatalogue {
  /** Something was removed, and its room is not given back yet. */
  hasForgotten = false;
  readonly #restic: ResticProgram;
  readonly #cache: ManifestCache;

  constructor(restic: ResticProgram, cache: ManifestCache) {
    this.#restic = restic;
    this.#cache = cache;
  }

  /** Of every guest or of one. */
  async held(guest: string | undefined, signal?: AbortSignal): Promise<Held[]> {
    const entries = await listEntries(this.#restic, guest, signal);
    if (guest === undefined) await this.#cache.keepOnly(new Set(entries.map(({ tree }) => tree)));
    const same = new Map<string, ResticEntry[]>();
    for (const entry of entries) {
      // Of one owner, those of one name are one snapshot: one that is being healed has another tree. Without owners nobody can tell.
      const key = `${entry.snapshot} ${entry.owner?.id ?? entry.tree}`;
      same.set(key, [...(same.get(key) ?? []), entry]);
    }
    const waiting = [...same.values()];
    const held: Held[] = [];
    const work = async () => {
      for (let ours = waiting.shift(); ours !== undefined; ours = waiting.shift()) {
        held.push({ entries: ours, look: await this.#look(ours, signal) });
      }
    };
    await Promise.all(Array.from({ length: looksAtOnce }, work));
    return held;
  }

  /**
   * One by its name, and never one that is incomplete.
   * @param isOwn is preferred where two have one name, each of another owner
   * @throws NoSuchSnapshot
   */
  async find(snapshot: string, isOwn: (stored: StoredSnapshot) => boolean = () => false): Promise<FoundHeld> {
    const name = splitSnapshotName(snapshot);
    const found = (await this.#storedOf(name?.guest)).filter(({ stored }) => stored.snapshot === snapshot);
    const [first] = found;
    if (first === undefined) throw new UmlsnapError('NoSuchSnapshot', { snapshot });
    return found.find(({ stored }) => isOwn(stored)) ?? first;
  }

  /** What was found before, of the same owner still. @throws NoSuchSnapshot, SnapshotChanged */
  async findAgain(before: StoredSnapshot): Promise<FoundHeld> {
    const held = await this.#storedOf(before.guest);
    const found = held.find(({ stored }) => isStill(before, stored));
    if (found !== undefined) return found;
    const { stored } = await this.find(before.snapshot);
    requireStill(this.#restic.place.name, before, stored);
    throw new UmlsnapError('NoSuchSnapshot', before);
  }

  async #storedOf(guest: string | undefined): Promise<FoundHeld[]> {
    if (guest === undefined) return [];
    return (await this.held(guest)).flatMap((one) => {
      const stored = storedOf(one);
      return stored === undefined ? [] : [{ ...one, stored }];
    });
  }

  async remember(tree: string, manifest: Manifest): Promise<void> {
    await this.#cache.put(tree, manifest);
  }

  /** By their ids, or the beginnings of them: what has an id never changes, so that it is still ours. */
  async forget(guest: string, ids: string[]): Promise<void> {
    if (ids.length === 0) return;
    await this.#restic.run(['forget', '--quiet', ...ids]);
    this.hasForgotten = true;
    // restic ends well also when it has removed nothing.
    const left = await listEntries(this.#restic, guest);
    const found = left.find((entry) => ids.some((id) => entry.id.startsWith(id)));
    if (found === undefined) return;
    const { name: store, path } = this.#restic.place;
    const problem = `restic did not remove ${found.snapshot} (${found.id})`;
    throw new UmlsnapError('StoreUnusable', { store, path, problem });
  }

  /** Of several, the first that is whole; it then comes first. */
  async #look(entries: ResticEntry[], signal: AbortSignal | undefined): Promise<Look> {
    let look: Look = { is: 'incomplete', missing: 'all of it' };
    for (const [index, entry] of entries.entries()) {
      look = await this.#lookAt(entry, signal);
      if (look.is !== 'whole') continue;
      entries.unshift(...entries.splice(index, 1));
      break;
    }
    return look;
  }

  async #lookAt(entry: ResticEntry, signal: AbortSignal | undefined): Promise<Look> {
    const known = await this.#cache.get(entry.tree, entry.snapshot);
    if (known !== undefined) return { is: 'whole', manifest: known, tree: entry.tree };
    const look = await lookAtEntry(this.#restic, entry, signal);
    if (look.is === 'whole') await this.#cache.put(entry.tree, look.manifest);
    return look;
  }
}

/** As it is listed; nothing of what is incomplete: it was never a snapshot. */
export function storedOf({ entries, look }: Held): StoredSnapshot | undefined {
  const [entry] = entries;
  if (entry === undefined || look.is === 'incomplete') return undefined;
  const { snapshot, guest, id, owner } = entry;
  const found = { snapshot, guest, directory: `restic ${id}` };
  if (look.is === 'damaged') return { ...found, damaged: look.problem, ...(owner && { owner }) };
  // The tags decide, since what restic stores is never written again.
  const pinned = entries.some(({ isPinned }) => isPinned);
  const manifest = amended(look.manifest, { pinned, ...(owner && { owner }) });
  return { ...found, manifest, manifestSha256: manifestSha256(manifest) };
}
