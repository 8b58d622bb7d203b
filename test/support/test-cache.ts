import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Names the directory of what is built once per test run; set by global-setup.ts, inherited by the workers. */
export const cacheVariable = 'UMLSNAP_TEST_CACHE';

/** The directory; whoever runs outside of vitest and did not set the variable gets one that stays. */
export async function testCacheDir(): Promise<string> {
  const dir = process.env[cacheVariable] ?? join(tmpdir(), 'umlsnap-test-cache');
  await mkdir(dir, { recursive: true });
  return dir;
}
