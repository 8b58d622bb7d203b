import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, link, lstat, mkdir, open, readdir, rename, rmdir, unlink } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { errnoOf } from '../errors.js';
import { renameToNewName } from '../image/durable-file.js';
import { emptyDirectory, openAsPath, removeDirectory } from './remove-tree.js';
import { isTrusted, othersMayRename, othersMayWrite } from './trust.js';

/** A path that is not walked: the message says at which component, and why. */
export class PathRefused extends Error {}

/** Whether it was the path that failed, refused by us or by the system, and not we ourselves. */
export function isPathError(error: unknown): boolean {
  return error instanceof PathRefused || errnoOf(error) !== undefined;
}

/**
 * A directory that is held by its descriptor, in a place that others may change: whatever they rename, link or put in its way afterwards, what
 * is done here is done in this directory. All files are named by their last component alone, and no link is ever followed.
 */
export class HeldDirectory {
  /** Absolute, for words: it may lead elsewhere by now. */
  readonly path: string;
  readonly #handle: FileHandle;
  /** Who could have led us elsewhere, beside root and ourselves, each with a component that is his. */
  readonly #strangers: ReadonlyMap<number, string>;

  private constructor(path: string, handle: FileHandle, strangers: ReadonlyMap<number, string>) {
    this.path = path;
    this.#handle = handle;
    this.#strangers = strangers;
  }

  /**
   * Walks the path, component by component. Whose the components may be is for `requireTrusted`, which MUST be asked once that is known.
   * @param options.make makes what is missing of it, 0700, and its name durable
   * @param options.root where the walk begins; a part of the path that is not looked at
   * @throws PathRefused at a link, at what is no directory, and where strangers may rename what lies there; else Node's errors (ENOENT, EACCES)
   */
  static async open(path: string, { make = false, root = '/' } = {}): Promise<HeldDirectory> {
    let held = new HeldDirectory(root, await open(root, openAsPath | constants.O_DIRECTORY), new Map());
    const names = relative(root, resolve(path)).split('/');
    for (const name of names.filter((component) => component !== '')) {
      const outer = held;
      try {
        if (make && (await outer.stat(name)) === null) await outer.makeDirectory(name);
        held = await outer.openDirectory(name);
      } finally {
        await outer.close();
      }
    }
    return held;
  }

  /** A directory of only ours: root's and our own all the way, and nobody else may write into it. @throws as `open` */
  static async openOwn(path: string, options: { make?: boolean } = {}): Promise<HeldDirectory> {
    const held = await HeldDirectory.open(path, options);
    try {
      held.requireTrusted(null);
      await held.#requireOursAlone();
      return held;
    } catch (error) {
      await held.close();
      throw error;
    }
  }

  /** A directory in this one, held as well. @throws as `open` */
  async openDirectory(name: string): Promise<HeldDirectory> {
    const path = join(this.path, name);
    const handle = await this.pin(name);
    try {
      const found = await handle.stat({ bigint: true });
      if (found.isSymbolicLink()) throw new PathRefused(`${path} is a symbolic link`);
      if (!found.isDirectory()) throw new PathRefused(`${path} is not a directory`);
      // A directory of somebody else's is his to open to whom he likes: it is he who is to be trusted, or not.
      if (isTrusted(found.uid) && othersMayRename(found)) {
        const problem =
          'can be written to by others and has no sticky bit: they can put anything in place of what is there';
        throw new PathRefused(`${path} ${problem}`);
      }
      const owner = Number(found.uid);
      const isNew = !isTrusted(owner) && !this.#strangers.has(owner);
      const strangers = isNew ? new Map(this.#strangers).set(owner, path) : this.#strangers;
      return new HeldDirectory(path, handle, strangers);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /**
   * MUST be asked before what was found here is used: whoever owns a component could have put anything at the path.
   * @param owner of what it is about; null: nobody beside root and us
   * @throws PathRefused
   */
  requireTrusted(owner: number | null): void {
    for (const [uid, path] of this.#strangers) {
      if (uid === owner) continue;
      const whose = owner === null ? '' : `, nor user ${owner}, whose it would be`;
      throw new PathRefused(`${path} belongs to user ${uid}, who is neither root nor ourselves${whose}`);
    }
  }

  /** The one user beside root and us who owns components of it; null where there is none. @throws PathRefused where there are several */
  onlyStranger(): number | null {
    const [first = null] = this.#strangers.keys();
    this.requireTrusted(first);
    return first;
  }

  /** The path by which the system finds a file of this directory, whatever became of the directory's own path. */
  at(name: string): string {
    if (name === '' || name === '.' || name === '..' || name.includes('/'))
      throw new PathRefused(`${JSON.stringify(name)} is no name of a file`);
    return `${this.here}/${name}`;
  }

  /** The same of the directory itself. For this process and those that may look into it. */
  get here(): string {
    return `/proc/${process.pid}/fd/${this.#handle.fd}`;
  }

  /** null where nothing is. */
  async stat(name: string): Promise<BigIntStats | null> {
    try {
      return await lstat(this.at(name), { bigint: true });
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return null;
      throw error;
    }
  }

  /** Opens a regular file: nothing else is ever opened, nor waited for. @throws PathRefused, ENOENT and the like */
  async openFile(name: string, flags: number): Promise<FileHandle> {
    const pinned = await this.pin(name);
    try {
      const found = await pinned.stat();
      if (found.isSymbolicLink()) throw new PathRefused(`${join(this.path, name)} is a symbolic link`);
      if (!found.isFile()) throw new PathRefused(`${join(this.path, name)} is not a regular file`);
      return await open(`/proc/self/fd/${pinned.fd}`, flags);
    } finally {
      await pinned.close();
    }
  }

  /** Pins whatever is there, without opening it. @returns a handle for `stat`, and for `/proc/self/fd` */
  async pin(name: string): Promise<FileHandle> {
    return await open(this.at(name), openAsPath | constants.O_NOFOLLOW);
  }

  /** A new file, 0600, to be written and read. @throws EEXIST */
  async create(name: string): Promise<FileHandle> {
    return await open(this.at(name), 'wx+', 0o600);
  }

  /** Makes a directory, 0700, and its name durable. Somebody of us may have been faster. */
  async makeDirectory(name: string): Promise<void> {
    await mkdir(this.at(name), { mode: 0o700 }).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw error;
    });
    await this.sync();
  }

  /** Makes a directory that only we can enter, and holds it. To be closed. @throws EEXIST, PathRefused where another took its place at once */
  async makeOwn(name: string): Promise<HeldDirectory> {
    await mkdir(this.at(name), { mode: 0o700 });
    const made = await this.openDirectory(name);
    try {
      await made.#requireOursAlone();
      return made;
    } catch (error) {
      await made.close();
      throw error;
    }
  }

  async names(): Promise<string[]> {
    return await readdir(this.here);
  }

  async link(from: string, to: string): Promise<void> {
    await link(this.at(from), this.at(to));
  }

  async rename(from: string, to: string): Promise<void> {
    await rename(this.at(from), this.at(to));
  }

  /** To a name in another directory that is held, in place of what is there. */
  async renameTo(from: string, directory: HeldDirectory, to: string): Promise<void> {
    await rename(this.at(from), directory.at(to));
  }

  /** Of an empty one; where it is gone, or another has its name, nothing. */
  async rmdir(name: string): Promise<void> {
    await rmdir(this.at(name)).catch((error: unknown) => {
      if (!['ENOENT', 'ENOTDIR', 'ENOTEMPTY'].includes(errnoOf(error) ?? '')) throw error;
    });
  }

  /** @throws EEXIST */
  async renameToNew(from: string, to: string): Promise<void> {
    await renameToNewName(this.at(from), this.at(to));
  }

  /** Of one file; nothing where there is none. */
  async unlink(name: string): Promise<void> {
    await unlink(this.at(name)).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
    });
  }

  /**
   * Removes a directory with all that is in it, whoever may write there: each level is found by the descriptor of the one above, so that
   * what is put in its way leads nowhere. What another removal takes at the same time is gone as well.
   */
  async removeTree(name: string): Promise<void> {
    await removeDirectory(this.at(name));
  }

  /** Removes all that is in it, as `removeTree` does. */
  async clear(): Promise<void> {
    await emptyDirectory(this.#handle);
  }

  /** Nobody beside root and us can put a name into it, whoever owns what lies above it. */
  async #requireOursAlone(): Promise<void> {
    const found = await this.#handle.stat({ bigint: true });
    const others = isTrusted(found.uid) ? null : `belongs to user ${found.uid}`;
    const problem = others ?? (othersMayWrite(found) ? 'can be written to by others' : null);
    if (problem !== null) throw new PathRefused(`${this.path} ${problem}`);
  }

  /** Makes the names in it durable. */
  async sync(): Promise<void> {
    const handle = await open(this.here, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** Where a file is, or is to be: in a directory that is held, under one name. */
export interface Place {
  directory: HeldDirectory;
  name: string;
}

/** For words. */
export const pathOf = ({ directory, name }: Place): string => join(directory.path, name);

/** Runs `use` with the directory of a file held, and the file's name in it. @throws as HeldDirectory.open */
export async function withDirectoryOf<T>(
  path: string,
  use: (directory: HeldDirectory, name: string) => Promise<T>,
  options: { root?: string } = {},
): Promise<T> {
  const directory = await HeldDirectory.open(dirname(path), options);
  try {
    return await use(directory, basename(path));
  } finally {
    await directory.close();
  }
}
