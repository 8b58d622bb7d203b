import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A fresh directory with a short name: the path of a unix socket in it has to fit in 107 bytes. */
export function makeTempDir(parent = tmpdir()): Promise<string> {
  return mkdtemp(join(parent, 'us-'));
}

export async function removeTempDir(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true, maxRetries: 3 });
}

/** Runs `use` with a fresh directory that is gone afterwards, whatever happened. */
export async function withTempDir<T>(use: (dir: string) => Promise<T>): Promise<T> {
  const dir = await makeTempDir();
  try {
    return await use(dir);
  } finally {
    await removeTempDir(dir);
  }
}

/** Where there are two GiB of room in memory: for what syncs often, and is about the order of it and not the disk. */
export async function roomInMemory(): Promise<string | undefined> {
  const memory = '/dev/shm';
  const { bavail, bsize } = await statfs(memory).catch(() => ({ bavail: 0, bsize: 0 }));
  return bavail * bsize > 2 ** 31 ? memory : undefined;
}
