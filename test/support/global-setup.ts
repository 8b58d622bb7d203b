import { buildAll } from './build.js';
import { makeTempDir, removeTempDir } from './temp-dir.js';
import { cacheVariable } from './test-cache.js';

/** Before any worker starts: what tests start is built, and there is a directory for what they make once, gone at the end. */
export default async function setup(): Promise<() => Promise<void>> {
  await buildAll();
  const dir = await makeTempDir();
  process.env[cacheVariable] = dir;
  return () => removeTempDir(dir);
}
