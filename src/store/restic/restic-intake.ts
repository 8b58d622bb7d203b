import { isError, UmlsnapError } from '../../errors.js';
import type { ImageWorkOptions } from '../../image/image-work.js';
import type { Manifest } from '../manifest.js';
import type { SnapshotContent } from '../store.js';
import { onStore } from '../store-failure.js';
import { backingFile, checkStoredFile, diskFile } from '../stored-file.js';
import { backUp } from './back-up.js';
import { type HandOver, withHandOver } from './hand-over.js';
import { backingPath, diskPath, type Look, lookAtEntry } from './look-at-entry.js';
import type { ResticCatalogue } from './restic-catalogue.js';
import { listEntries, type ResticEntry } from './restic-entries.js';
import { resticImage } from './restic-image.js';
import type { ResticProgram } from './restic-program.js';

/**
 * How a snapshot comes into a repository, and when what restic made of it is one of ours: once it is read back, and nobody else's has its
 * name. Until then, and after any error, it is forgotten.
 */
export class ResticIntake {
  readonly #restic: ResticProgram;
  readonly #catalogue: ResticCatalogue;
  readonly #places: { work: string; staging: string };

  /** @param places where files are laid out for restic, and the place whose room that takes */
  constructor(restic: ResticProgram, catalogue: ResticCatalogue, places: { work: string; staging: string }) {
    this.#restic = restic;
    this.#catalogue = catalogue;
    this.#places = places;
  }

  /** @returns the id of restic's snapshot, maybe only the beginning of it */
  async store(source: SnapshotContent, options: ImageWorkOptions): Promise<string> {
    const neededBytes = source.manifest.disks.reduce((sum, disk) => sum + disk.storedBytes, 0);
    const { work, staging } = this.#places;
    return await onStore({ name: this.#restic.place.name, path: staging }, neededBytes, () =>
      withHandOver(work, source, options, (handOver) =>
        this.#restic.naming(() => this.#takeOver(source.manifest, handOver, options)),
      ),
    );
  }

  async #takeOver(manifest: Manifest, handOver: HandOver, options: ImageWorkOptions): Promise<string> {
    const { snapshot, guest } = manifest;
    const { id, isComplete } = await backUp(this.#restic, manifest, handOver, options);
    try {
      await handOver.requireUntouched();
      const look: Look = isComplete
        ? await lookAtEntry(this.#restic, { id, snapshot }, options.signal)
        : { is: 'incomplete', missing: 'a file' };
      if (look.is === 'whole' && look.manifest.checksum === manifest.checksum) {
        await this.#refuseTwin(manifest, id);
        await this.#catalogue.remember(look.tree, look.manifest);
        return id;
      }
      const what = look.is === 'incomplete' ? `${look.missing} is missing` : 'its manifest reads differently';
      const problem = `what restic made of ${snapshot} is not what it was given: ${what}`;
      const { name: store, path } = this.#restic.place;
      throw new UmlsnapError('StoreUnusable', { store, path, problem });
    } catch (error) {
      // The first failure is the one that counts. What is incomplete is in no list, and the next one removes it.
      await this.#catalogue.forget(guest, [id]).catch(() => {});
      throw error;
    }
  }

  /** @returns the id of restic's new snapshot; undefined: it can't be read back, and is forgotten */
  async storeProven(source: SnapshotContent, options: ImageWorkOptions): Promise<string | undefined> {
    const { snapshot, guest, disks } = source.manifest;
    const id = await this.store(source, options);
    const image = (path: string, sizeBytes: number) =>
      resticImage(this.#restic, { snapshot, id, path, sizeBytes });
    try {
      for (const disk of disks) {
        const file = diskFile(source, disk);
        const open = async () => image(diskPath(file.file), file.sizeBytes);
        await this.#restic.naming(() => checkStoredFile({ ...file, open }, options));
        if (disk.backing === undefined) continue;
        const backing = backingFile(source, disk.backing);
        const openBacking = async () => image(backingPath(backing.file), backing.sizeBytes);
        await this.#restic.naming(() => checkStoredFile({ ...backing, open: openBacking }, options));
      }
      return id;
    } catch (error) {
      await this.#catalogue.forget(guest, [id]).catch(() => {});
      if (isError(error, 'SnapshotDamaged')) return undefined;
      throw error;
    }
  }

  /**
   * No lock of ours reaches another host: of two that took one name at the same time, each that sees the other's MUST give up its own.
   * One of the same owner is what is being healed.
   * @throws SnapshotExists
   */
  async #refuseTwin({ snapshot, guest, owner }: Manifest, id: string): Promise<void> {
    const entries = await listEntries(this.#restic, guest);
    const isTwin = (entry: ResticEntry) => entry.snapshot === snapshot && entry.owner?.id !== owner?.id;
    if (entries.some((entry) => isTwin(entry) && !entry.id.startsWith(id)))
      throw new UmlsnapError('SnapshotExists', { store: this.#restic.place.name, snapshot });
  }
}
