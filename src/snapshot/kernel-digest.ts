import { randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { errnoOf } from '../errors.js';
import { sha256OfFile } from '../image/digest.js';
import { replaceFile } from '../image/durable-file.js';
import { readSmallFile } from '../path/small-file.js';

const knownSchema = z.record(z.string(), z.string().regex(/^[0-9a-f]{64}$/));
/** A kernel has some 10 to 100 MB; what is larger is none. */
const largestKernelBytes = 2 ** 30;
const digestLimitMs = 60_000;
const knownAtMost = 32;

/**
 * SHA-256 of the file that a process runs, also where its path leads elsewhere by now. It is read once for all backups, as long as it is
 * not touched: the state remembers it, and only saves work.
 * @throws Node's errors of reading, RangeError for what is no kernel
 */
export async function kernelSha256(stateDirectory: string, pid: number): Promise<string> {
  const path = `/proc/${pid}/exe`;
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
  if (size > largestKernelBytes) throw new RangeError(`it has ${size} bytes`);
  const key = [dev, ino, size, mtimeNs, ctimeNs].join(' ');
  const file = join(stateDirectory, 'kernels.json');
  const known = await readKnown(file);
  const found = known[key] ?? (await sha256OfFile(path, { signal: AbortSignal.timeout(digestLimitMs) }));
  if (known[key] === undefined) await remember(file, { ...known, [key]: found });
  return found;
}

async function readKnown(file: string): Promise<Record<string, string>> {
  try {
    return knownSchema.parse(JSON.parse(await readSmallFile(file)));
  } catch {
    return {};
  }
}

async function remember(file: string, known: Record<string, string>): Promise<void> {
  const newest = Object.fromEntries(Object.entries(known).slice(-knownAtMost));
  await replaceFile(file, `${file}.${randomBytes(4).toString('hex')}`, JSON.stringify(newest)).catch(
    (error: unknown) => {
      if (errnoOf(error) === undefined) throw error;
    },
  );
}
