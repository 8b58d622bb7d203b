import { mkdtemp, rm } from 'node:fs/promises';
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
