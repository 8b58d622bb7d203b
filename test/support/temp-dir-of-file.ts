import { afterAll } from 'vitest';
import { makeTempDir, removeTempDir } from './temp-dir.js';

/** A fresh directory for all tests of a file, asked for at its top; it is gone after the last of them. */
export async function tempDirOfFile(parent?: string): Promise<string> {
  const dir = await makeTempDir(parent);
  afterAll(() => removeTempDir(dir));
  return dir;
}
