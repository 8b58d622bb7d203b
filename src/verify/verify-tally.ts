import type { Healed } from '../copies/heal-copy.js';
import { explainError } from '../error-text.js';
import { UmlsnapError } from '../errors.js';
import type { FilesystemRecord, VerificationRecord, VerifyResult } from '../history/records.js';
import type { RestoreOptions } from '../restore/restore-source.js';
import type { Verified } from './verify-target.js';
import type { Target } from './verify-targets.js';

/** What is told while snapshots are read. */
export interface VerifyProgress {
  type: 'progress';
  kind: 'verify';
  /** The guest whose snapshot is read. */
  guest: string;
  phase: 'verify';
  snapshot: string;
  store: string;
  /** Of all that are to be read, holes included. */
  doneBytes: number;
  totalBytes: number;
  /** What it came to, once it was read. */
  verified?: VerificationRecord;
}

const tellEveryMs = 500;

/** Counts what the verifications of a job come to, and tells of it. */
export class VerifyTally {
  readonly #targets: readonly Target[];
  readonly #tell: (progress: VerifyProgress) => void;
  readonly #totalBytes: number;
  readonly #counts: Record<VerifyResult | 'skipped', number> = {
    ...{ ok: 0, damaged: 0, badFilesystem: 0, notRead: 0, skipped: 0 },
  };
  readonly #problems: VerificationRecord[] = [];
  readonly #healed: { snapshot: string; store: string; from: string }[] = [];
  readonly #unchecked = new Map<string, string[]>();
  readonly #told = new Set<string>();
  #badStore: UmlsnapError<'StoreUnusable'> | undefined;
  #last: Extract<Verified, { found: 'verdict' }> | undefined;
  #doneBytes = 0;
  #readBytes = 0;
  #toldAtMs = Number.NEGATIVE_INFINITY;

  constructor(targets: readonly Target[], tell: (progress: VerifyProgress) => void = () => {}) {
    this.#targets = targets;
    this.#tell = tell;
    this.#totalBytes = targets.reduce((sum, target) => sum + sizeOf(target), 0);
  }

  /** For whoever reads this one: tells of it twice a second at most. */
  reading(target: Target): NonNullable<RestoreOptions['onProgress']> {
    const doneByFile = new Map<string, number>();
    return (file, { doneBytes }) => {
      doneByFile.set(file, doneBytes);
      if (performance.now() - this.#toldAtMs < tellEveryMs) return;
      this.#toldAtMs = performance.now();
      const ofThis = [...doneByFile.values()].reduce((sum, bytes) => sum + bytes, 0);
      this.#tell(this.#progress(target, this.#doneBytes + Math.min(ofThis, sizeOf(target))));
    };
  }

  take(target: Target, verified: Extract<Verified, { found: 'verdict' }>): void {
    const { verdict } = verified;
    this.#last = verified;
    this.#counts[verdict.result] += 1;
    this.#readBytes += verdict.readBytes;
    if (verdict.result !== 'ok') this.#problems.push(verdict);
    for (const filesystem of verdict.filesystems) this.#noteUnchecked(verdict, filesystem);
    this.#doneBytes += sizeOf(target);
    this.#tell({ ...this.#progress(target, this.#doneBytes), verified: verdict });
  }

  /** Whether one that was found damaged is well again. */
  takeHealed(verdict: VerificationRecord, healed: Healed): void {
    const { snapshot, store, problem } = verdict;
    if (healed.type === 'notHealed') {
      this.warn(`${snapshot} in store ${store} was not brought back: ${healed.why}`);
      return;
    }
    this.#problems.splice(this.#problems.indexOf(verdict), 1);
    this.#healed.push({ snapshot, store, from: healed.from });
    if (healed.left !== null)
      this.warn(`what was damaged in store ${store} takes its room still: ${healed.left}`);
    this.warn(
      `${snapshot} in store ${store} was damaged (${problem}), and was brought back from store ${healed.from}`,
    );
  }

  /** What its own check says of a store. */
  takeBadStore({ name, path }: Pick<Target['store'], 'name' | 'path'>, problem: string): void {
    const facts = { store: name, path, problem: `its own check found damage: ${problem}` };
    this.#badStore = new UmlsnapError('StoreUnusable', facts);
    this.warn(explainError(this.#badStore));
  }

  /** It was removed meanwhile. */
  skip(target: Target): void {
    this.#counts.skipped += 1;
    this.#doneBytes += sizeOf(target);
  }

  /** Once, however often it is said. */
  warn(text: string): void {
    this.#told.add(text);
  }

  warnings(): string[] {
    const unread = this.#problems
      .filter(({ result }) => result === 'notRead')
      .map(({ snapshot, problem }) => `${snapshot} could not be read: ${problem}`);
    const unchecked = [...this.#unchecked].map(([reason, [first = '', ...others]]) => {
      const more = others.length === 0 ? '' : ` and ${others.length} more`;
      return `filesystem not checked (${first}${more}): ${reason}`;
    });
    return [...unread, ...unchecked, ...this.#told];
  }

  /** For the summary. @param ofOne also what the only one came to */
  facts(ofOne: boolean): Record<string, unknown> {
    const { snapshot } = this.#targets[0]?.stored ?? {};
    const { verdict } = this.#last ?? {};
    const healed = this.#healed;
    const counts = { looked: this.#targets.length, ...this.#counts, readBytes: this.#readBytes, healed };
    const problems = this.#problems.map(({ snapshot: name, store, result, problem }) => ({
      ...{ snapshot: name, store, result, problem },
    }));
    if (!ofOne) return { ...counts, problems };
    const { store = null, result = null, filesystems = [] } = verdict ?? {};
    return { snapshot, store, result, filesystems, ...counts, problems };
  }

  /** Names each one that is bad. @throws SnapshotsBad, StoreUnusable */
  requireAllGood(): void {
    const bad = this.#bad();
    if (bad.length === 0 && this.#badStore) throw this.#badStore;
    if (bad.length === 0) return;
    const facts = bad.map(({ snapshot, store, problem }) => ({ snapshot, store, problem: problem ?? '' }));
    throw new UmlsnapError('SnapshotsBad', { looked: this.#targets.length, bad: facts });
  }

  /**
   * Of a single snapshot.
   * @param soundIn other stores, that have a sound copy of it
   * @throws SnapshotDamaged, FilesystemBad, and what kept it from being read
   */
  requireGood(soundIn: string[]): void {
    if (this.#last?.notRead) throw this.#last.notRead;
    const [first] = this.#bad();
    if (!first) return;
    const { snapshot, store, result } = first;
    const problem = first.problem ?? '';
    if (result !== 'damaged') throw new UmlsnapError('FilesystemBad', { snapshot, problem });
    throw new UmlsnapError('SnapshotDamaged', { snapshot, problem, store, soundIn });
  }

  #bad(): VerificationRecord[] {
    return this.#problems.filter(({ result }) => result !== 'notRead');
  }

  #noteUnchecked({ snapshot }: VerificationRecord, { disk, verdict, reason }: FilesystemRecord): void {
    if (verdict !== 'notChecked') return;
    const known = this.#unchecked.get(reason ?? '') ?? [];
    this.#unchecked.set(reason ?? '', [...known, `${snapshot} ${disk}`]);
  }

  #progress({ store, stored }: Target, doneBytes: number): VerifyProgress {
    const { snapshot, guest } = stored;
    return {
      ...{ type: 'progress', kind: 'verify', guest, phase: 'verify', snapshot, store: store.name },
      ...{ doneBytes, totalBytes: this.#totalBytes },
    };
  }
}

function sizeOf({ stored }: Target): number {
  if (!('manifest' in stored)) return 0;
  return stored.manifest.disks.reduce(
    (sum, disk) => sum + disk.sizeBytes + (disk.backing?.sizeBytes ?? 0),
    0,
  );
}
