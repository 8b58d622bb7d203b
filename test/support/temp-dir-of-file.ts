import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { removeTempDir } from './temp-dir.js';

/** A fresh directory for the tests of a file, asked for at its top; where all of them are left out, there is none. */
export function tempDirOfFile(parent = tmpdir()): string {
  const dir = join(parent, `us-${randomBytes(3).toString('hex')}`);
  beforeAll(() => void mkdirSync(dir, { mode: 0o700 }));
  afterAll(() => removeTempDir(dir));
  return dir;
}
