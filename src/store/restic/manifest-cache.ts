import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, isError } from '../../errors.js';
import { formatManifest, type Manifest, parseManifest } from '../manifest.js';

const cachedName = /^([0-9a-f]{64})\.json$/;

/**
 * Manifests of snapshots that were found to be whole, by restic's hash of the tree of their files: what has that hash never
 * changes, so that what is here stays true. Each one saves two runs of restic, of a second or so, at every list. It only saves work:
 * what can't be read is fetched again, and what can't be written is not missed.
 */
export class ManifestCache {
  readonly #directory: string;
  readonly #byTree = new Map<string, Manifest>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  async get(tree: string, snapshot: string): Promise<Manifest | undefined> {
    const known = this.#byTree.get(tree) ?? (await this.#read(tree, snapshot));
    if (known !== undefined) this.#byTree.set(tree, known);
    return known;
  }

  async put(tree: string, manifest: Manifest): Promise<void> {
    this.#byTree.set(tree, manifest);
    const path = join(this.#directory, `${tree}.json`);
    const temporary = `${path}.${randomBytes(4).toString('hex')}`;
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      await writeFile(temporary, formatManifest(manifest), { flag: 'wx', mode: 0o600 });
      await rename(temporary, path);
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      await rm(temporary, { force: true }).catch(() => {});
    }
  }

  /** Drops all but those of a whole list. */
  async keepOnly(trees: ReadonlySet<string>): Promise<void> {
    const entries = await readdir(this.#directory).catch(() => []);
    for (const entry of entries) {
      const tree = cachedName.exec(entry)?.[1];
      if (tree !== undefined && !trees.has(tree)) await rm(join(this.#directory, entry), { force: true });
    }
  }

  async #read(tree: string, snapshot: string): Promise<Manifest | undefined> {
    try {
      return parseManifest(await readFile(join(this.#directory, `${tree}.json`), 'utf8'), snapshot);
    } catch (error) {
      if (errnoOf(error) === undefined && !isError(error, 'SnapshotDamaged')) throw error;
      return undefined;
    }
  }
}
