import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Compression } from '../../config/store-config.js';
import { errnoOf, isError, UmlsnapError } from '../../errors.js';
import { ensureDirectory, renameToNewName, syncDirectory } from '../../image/durable-file.js';
import type { ImageWorkOptions } from '../../image/image-work.js';
import { guestDirectory, type StorePlace, splitSnapshotName } from '../layout.js';
import type { Manifest } from '../manifest.js';
import { requireOrdinary, withMarksOf } from '../receive.js';
import type { HealOptions, SnapshotContent } from '../store.js';
import { isSound, requireStill, type StoredSnapshot } from '../stored-snapshots.js';
import { replaceSnapshot } from '../trash.js';
import {
  archivePath,
  compressionOfPath,
  findArchives,
  findIncoming,
  incomingPrefix,
} from './archive-layout.js';
import { appendTail, digestForTail } from './archive-tail.js';
import { checkWritten } from './check-archive.js';
import { removeMarks } from './marks.js';
import { findArchive } from './stored-archives.js';
import { writeArchive } from './write-archive.js';
import { isZstdThere } from './zstd-program.js';

/**
 * Writes a snapshot's archive. The order is the promise:
 * 1. the archive MUST be whole, durable, and was read again (`checkWritten`), before it gets its name;
 * 2. that name MUST be durable before anybody is told that the snapshot is in the store.
 * After any error it is thrown away.
 * @throws SnapshotExists, SnapshotDamaged (the source is), StoreUnusable (what was written can't be read again)
 */
export async function receiveArchive(
  place: StorePlace,
  wanted: Compression,
  source: SnapshotContent,
  options: ImageWorkOptions,
): Promise<Manifest> {
  const { manifest } = source;
  const { guest } = requireOrdinary(manifest);
  const name = splitSnapshotName(manifest.snapshot)?.directory ?? '';
  await ensureDirectory(guestDirectory(place, guest));
  const refuseExisting = async () => {
    const existing = (await findArchives(place, guest)).some((archive) => archive.name === name);
    if (existing)
      throw new UmlsnapError('SnapshotExists', { store: place.name, snapshot: manifest.snapshot });
  };
  await refuseExisting();
  for (const leftover of await findIncoming(place, guest)) await rm(leftover, { force: true });
  const compression = wanted === 'zstd' && !(await isZstdThere()) ? 'gzip' : wanted;
  await withIncoming(place, guest, async (file, incoming) => {
    await writeWhole(place, source, { file, incoming, compression }, options);
    // Once more, where locks do not reach whoever else writes there: the marks would be those of his.
    await refuseExisting();
    await removeMarks(place, guest, name);
    await publish(place, incoming, archivePath(place, guest, name, compression), manifest.snapshot);
  });
  return manifest;
}

/**
 * Puts an archive of a snapshot that lies elsewhere in the place of a damaged one: whole, durable and read again, as any other, then
 * by `replaceSnapshot`. It keeps the name, and so the compression; its marks are left as they are.
 * @throws NoSuchSnapshot, SnapshotDamaged (the source is), StoreUnusable, Busy
 */
export async function healArchive(
  place: StorePlace,
  found: StoredSnapshot,
  source: SnapshotContent,
  options: HealOptions,
): Promise<Manifest> {
  const { snapshot } = found;
  const { guest } = requireOrdinary(source.manifest);
  const damaged = await findArchive(place, snapshot);
  requireStill(place.name, found, damaged);
  const compression = compressionOfPath(damaged.directory);
  for (const leftover of await findIncoming(place, guest)) await rm(leftover, { force: true });
  const manifest = withMarksOf(damaged, source.manifest);
  await withIncoming(place, guest, async (file, incoming) => {
    await writeWhole(place, { ...source, manifest }, { file, incoming, compression }, options);
    await options.onWhole?.(manifest);
    await replaceSnapshot(place, damaged, incoming);
  });
  const healed = await findArchive(place, snapshot);
  if (isSound(healed)) return healed.manifest;
  throw new UmlsnapError('SnapshotDamaged', { snapshot, problem: healed.damaged });
}

/** Step 1: all of the archive, durable, and read again. */
async function writeWhole(
  place: StorePlace,
  source: SnapshotContent,
  { file, incoming, compression }: { file: FileHandle; incoming: string; compression: Compression },
  options: ImageWorkOptions,
): Promise<void> {
  await writeArchive(source, { fd: file.fd, compression }, options);
  // Side by side: each of them alone would wait for the disk or for one processor.
  const digest = await allOf(
    digestForTail(file, compression, options),
    requireReadable(place, incoming, compression, source.manifest, options),
    file.sync(),
  );
  await appendTail(file, compression, digest);
  await file.sync();
  options.signal?.throwIfAborted();
}

/** Lets `use` write a file that no list shows; when it fails, nothing is left of it. */
async function withIncoming(
  place: StorePlace,
  guest: string,
  use: (file: FileHandle, path: string) => Promise<void>,
): Promise<void> {
  const path = join(guestDirectory(place, guest), `${incomingPrefix}${randomBytes(8).toString('hex')}`);
  const file = await open(path, 'wx+', 0o600);
  try {
    await use(file, path);
  } catch (error) {
    // The first failure is the one that counts; the next one removes what is left.
    await rm(path, { force: true }).catch(() => {});
    throw error;
  } finally {
    await file.close();
  }
}

/** The first result, once all have ended: they use one descriptor. @throws what one of them has failed with */
async function allOf<T>(first: Promise<T>, ...others: Promise<unknown>[]): Promise<T> {
  await Promise.allSettled([first, ...others]);
  for (const other of others) await other;
  return await first;
}

async function requireReadable(
  place: StorePlace,
  path: string,
  compression: Compression,
  manifest: Manifest,
  options: ImageWorkOptions,
): Promise<void> {
  try {
    await checkWritten(path, compression, manifest, options);
  } catch (error) {
    if (!isError(error, 'SnapshotDamaged')) throw error;
    const problem = `the archive that was written reads differently from what went into it: ${error.facts.problem}`;
    throw new UmlsnapError('StoreUnusable', { store: place.name, path: place.path, problem }, error);
  }
}

async function publish(place: StorePlace, incoming: string, path: string, snapshot: string): Promise<void> {
  try {
    await renameToNewName(incoming, path);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
    throw new UmlsnapError('SnapshotExists', { store: place.name, snapshot }, error);
  }
  try {
    await syncDirectory(dirname(path));
  } catch (error) {
    // It was never acknowledged, so it must not be listed either. Where even that fails, the first failure counts.
    await rm(path, { force: true }).catch(() => {});
    throw error;
  }
}
