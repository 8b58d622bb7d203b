import { isError, UmlsnapError } from '../../errors.js';
import type { ImageContent, ImagePiece } from '../../image/image-content.js';
import { inOneLine, isDamage } from './restic-failure.js';
import { OutOfPatience } from './restic-patience.js';
import { localDirectory } from './restic-place.js';
import type { ResticProgram } from './restic-program.js';

/** A file of a snapshot in restic. */
export interface ResticFile {
  snapshot: string;
  id: string;
  /** Inside of restic's snapshot: `/disks/ubd0.img`. */
  path: string;
  sizeBytes: number;
}

const blockBytes = 4096;
const zeros = Buffer.alloc(64 * 1024);

/**
 * The content of a file, as restic gives it out: all of it, holes as zeros. Whole blocks of zeros become holes again.
 * restic holds every piece against its hash before it gives it out.
 */
export function resticImage(restic: ResticProgram, file: ResticFile): ImageContent {
  const closing = new AbortController();
  const pieces = withoutZeros(dump(restic, file, closing.signal));
  return {
    from: 'stream',
    pieces,
    async close() {
      closing.abort(new UmlsnapError('Internal', { problem: `${file.path} was closed while it was read` }));
      await pieces.return(undefined);
    },
  };
}

async function* dump(
  restic: ResticProgram,
  file: ResticFile,
  signal: AbortSignal,
): AsyncGenerator<ImagePiece> {
  let offset = 0;
  try {
    // With restic's lock: a prune of somebody else's would take away what we are about to read.
    for await (const data of restic.stream(['dump', '--quiet', file.id, file.path], signal)) {
      yield { offset, data };
      offset += data.length;
    }
  } catch (error) {
    throw await dumpError(restic, file, error);
  }
  if (offset === file.sizeBytes) return;
  throw damagedFile(file, `restic gave ${offset} bytes of it instead of ${file.sizeBytes}`);
}

/** @returns SnapshotDamaged for what speaks against the snapshot, the store's error for what speaks against the store */
export async function dumpError(
  restic: ResticProgram,
  file: Pick<ResticFile, 'snapshot' | 'path'>,
  error: unknown,
): Promise<unknown> {
  const said = isError(error, 'CommandFailed') ? error.facts.problem : patienceMessage(restic, error);
  if (isDamage(said) && (await isReadable(restic))) return damagedFile(file, inOneLine(said));
  return await restic.named(error);
}

/** A line that breaks again and again sounds as data that is cut short does, and says nothing of the data; a disk has no line. */
function patienceMessage({ place }: ResticProgram, error: unknown): string {
  if (!(error instanceof OutOfPatience)) return '';
  return /\bEOF\b/.test(error.said) && localDirectory(place.path) === undefined ? '' : error.said;
}

/** The words for damage of a restic that we have ended since it tried to load what is gone, or cut short, in vain. */
export async function damageAfterPatience(
  restic: ResticProgram,
  error: unknown,
): Promise<string | undefined> {
  const said = patienceMessage(restic, error);
  return isDamage(said) && (await isReadable(restic)) ? inOneLine(said) : undefined;
}

/** A repository that is gone as a whole has lost no data by that. */
async function isReadable(restic: ResticProgram): Promise<boolean> {
  return await restic.run(['cat', 'config', '--quiet', '--no-lock', '--no-cache']).then(
    () => true,
    () => false,
  );
}

function damagedFile({ snapshot, path }: Pick<ResticFile, 'snapshot' | 'path'>, what: string): UmlsnapError {
  return new UmlsnapError('SnapshotDamaged', {
    snapshot,
    problem: `${path.slice(1)} can't be read: ${what}`,
  });
}

/** Leaves out every block that is all zeros, cut at the ends of pieces too: what is left between is a hole. */
export async function* withoutZeros(
  pieces: AsyncIterable<ImagePiece>,
): AsyncGenerator<ImagePiece, void, undefined> {
  for await (const { offset, data } of pieces) {
    if (isZero(data, 0, data.length)) continue;
    let dataStart: number | undefined;
    for (let at = 0; at < data.length; ) {
      const end = Math.min(at + blockBytes - ((offset + at) % blockBytes), data.length);
      if (!isZero(data, at, end)) dataStart ??= at;
      else if (dataStart !== undefined) {
        yield { offset: offset + dataStart, data: data.subarray(dataStart, at) };
        dataStart = undefined;
      }
      at = end;
    }
    if (dataStart !== undefined) yield { offset: offset + dataStart, data: data.subarray(dataStart) };
  }
}

function isZero(data: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at += zeros.length) {
    const length = Math.min(zeros.length, end - at);
    if (data.compare(zeros, 0, length, at, at + length) !== 0) return false;
  }
  return true;
}
