import { makeTempDir, removeTempDir } from './temp-dir.js';
import { cacheVariable } from './test-cache.js';

/** Before any worker starts: a directory for what they build once, shared between them and gone at the end. */
export default async function setup(): Promise<() => Promise<void>> {
  const dir = await makeTempDir();
  process.env[cacheVariable] = dir;
  return () => removeTempDir(dir);
}
