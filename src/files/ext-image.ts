import { randomBytes } from 'node:crypto';
import { lchown, lstat, mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { problemOf, UmlsnapError } from '../errors.js';
import { freeBytesIn } from '../restore/filesystems/scratch.js';
import { type ExtEntry, type ExtInode, parseDirectory, parseInode } from './ext-inode.js';
import { runInToolSandbox, type ToolSandbox } from './tool-sandbox.js';

/** No directory that anybody uses is larger. */
const maxDirectoryBytes = 64 * 2 ** 20;
/** Longer, and no kernel follows it. */
const maxLinkBytes = 4096;
const maxRequestsAtOnce = 500;
const hexLine = /^([0-7]{4,}) {2}((?:[0-9a-f]{4} ?)+) {2}/;

export const rootInode = 2;

/** A directory's entry with what its inode says; undefined for one that can't be read. */
export interface ExtNode extends ExtEntry {
  found: ExtInode | undefined;
}

/**
 * An ext2, ext3 or ext4 filesystem, read by debugfs in a box. It is only ever asked by the numbers of inodes, and only ever told to write
 * to names of ours: what stands in an image as a name is never part of a request.
 */
export class ExtImage {
  readonly #sandbox: Omit<ToolSandbox, 'outputDirectory' | 'isImageWritable' | 'maxFileBytes'>;
  readonly #scratch: string;
  readonly #signal: AbortSignal;

  /** @param scratch a directory that the box's user may write to, on whose disk there is room for what is read */
  constructor(image: string, scratch: string, user: number | null, signal: AbortSignal) {
    this.#sandbox = { image, user };
    this.#scratch = scratch;
    this.#signal = signal;
  }

  /** Undefined in the place of those that can't be read. */
  async inodes(numbers: number[]): Promise<(ExtInode | undefined)[]> {
    const found = new Map<number, ExtInode | undefined>();
    for (const some of inParts([...new Set(numbers)])) {
      const printed = await this.#debugfs(
        some.map((number) => `inode_dump <${number}>`),
        { outputDirectory: null, maxFileBytes: 0 },
      );
      for (const [number, bytes] of inodesOf(printed)) found.set(number, parseInode(bytes));
    }
    return numbers.map((number) => found.get(number));
  }

  /** Undefined in the place of directories that can't be read. */
  async entries(directories: number[]): Promise<(ExtNode[] | undefined)[]> {
    const contents = await this.#contents(directories, maxDirectoryBytes);
    const listed = contents.map((content) => content && parseDirectory(content));
    const all = listed.flatMap((entries) => entries ?? []);
    const inodes = await this.inodes(all.map(({ inode }) => inode));
    const nodes = new Map(all.map((entry, index) => [entry, inodes[index]]));
    return listed.map((entries) => entries?.map((entry) => ({ ...entry, found: nodes.get(entry) })));
  }

  /** Where a symlink leads, as it says; undefined where that can't be read. */
  async linkTarget(number: number, inode: ExtInode): Promise<Buffer | undefined> {
    if (inode.linkTo !== null) return inode.linkTo;
    if (inode.isInline || inode.sizeBytes > maxLinkBytes) return undefined;
    const [content] = await this.#contents([number], maxLinkBytes * 16);
    return content?.subarray(0, inode.sizeBytes);
  }

  /**
   * Writes the content of files into a directory of the scratch place, as files that are called by their inode's number, and has it used.
   * One that can't be read is missing there, or short; whoever worked in the box may have put anything in its place.
   */
  async withDumped<T>(
    numbers: number[],
    maxFileBytes: number,
    use: (directory: string) => Promise<T>,
  ): Promise<T> {
    const directory = join(this.#scratch, `read-${randomBytes(4).toString('hex')}`);
    await mkdir(directory, { mode: 0o700 });
    try {
      if (this.#sandbox.user !== null) await lchown(directory, this.#sandbox.user, this.#sandbox.user);
      for (const some of inParts([...new Set(numbers)])) {
        const requests = some.map((number) => `dump <${number}> ${number}`);
        await this.#debugfs(requests, { outputDirectory: directory, maxFileBytes });
      }
      return await use(directory);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  /** Bytes that `withDumped` may take. */
  async roomBytes(): Promise<number> {
    return await freeBytesIn(this.#scratch);
  }

  async #contents(numbers: number[], maxBytes: number): Promise<(Buffer | undefined)[]> {
    return await this.withDumped(numbers, maxBytes, (directory) =>
      Promise.all(numbers.map((number) => readDumped(join(directory, String(number))))),
    );
  }

  async #debugfs(
    requests: string[],
    sandbox: Pick<ToolSandbox, 'outputDirectory' | 'maxFileBytes'>,
  ): Promise<string> {
    this.#signal.throwIfAborted();
    const options = { input: `${requests.join('\n')}\n`, okExitCodes: [0, 1], signal: this.#signal };
    const whole = { ...this.#sandbox, ...sandbox, isImageWritable: false };
    return await runInToolSandbox(whole, 'debugfs', ['-f', '-', '{image}'], options);
  }
}

function inParts(numbers: number[]): number[][] {
  const parts: number[][] = [];
  for (let from = 0; from < numbers.length; from += maxRequestsAtOnce) {
    parts.push(numbers.slice(from, from + maxRequestsAtOnce));
  }
  return parts;
}

/**
 * What `inode_dump` has printed for each request, which debugfs repeats before its answer: offsets in octal, sixteen bytes a line,
 * and a `*` for lines that are as the one before. No line of it holds text of the image alone. Pure.
 */
export function inodesOf(printed: string): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  let lines: { offset: number; bytes: Buffer }[] = [];
  let current: number | null = null;
  const keep = () => {
    if (current !== null && lines.length > 0) found.set(current, joined(lines));
  };
  for (const line of printed.split('\n')) {
    const request = /^debugfs: +inode_dump <(\d{1,10})>$/.exec(line)?.[1];
    if (request !== undefined) {
      keep();
      lines = [];
      current = Number(request);
      continue;
    }
    const [, offset, hex] = hexLine.exec(line) ?? [];
    if (offset === undefined || hex === undefined) continue;
    lines.push({ offset: Number.parseInt(offset, 8), bytes: Buffer.from(hex.replaceAll(' ', ''), 'hex') });
  }
  keep();
  return found;
}

function joined(lines: { offset: number; bytes: Buffer }[]): Buffer {
  const last = lines.at(-1);
  // What a `*` at the very end stands for is not told: zeros serve as well, for there is nothing there that we read.
  const whole = Buffer.alloc(Math.max(256, Math.min((last?.offset ?? 0) + 16, 65_536)));
  for (const [index, { offset, bytes }] of lines.entries()) {
    const until = lines[index + 1]?.offset ?? offset + bytes.length;
    for (let at = offset; at < Math.min(until, whole.length); at += 16) bytes.copy(whole, at);
  }
  return whole;
}

/** The box's user has written it, or anything else in its place. */
async function readDumped(path: string): Promise<Buffer | undefined> {
  const found = await lstat(path).catch(() => null);
  if (!found?.isFile() || found.size > maxDirectoryBytes) return undefined;
  try {
    return await readFile(path);
  } catch (error) {
    throw new UmlsnapError('FilesImpossible', { problem: problemOf(error) }, error);
  }
}
