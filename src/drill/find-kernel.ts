import { constants } from 'node:fs';
import { access, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { searchPath } from '../child-environment.js';
import { problemOf, UmlsnapError } from '../errors.js';

/** As Debian calls it, and as a kernel's own `make` does. */
const usualNames = ['linux.uml', 'linux'];

/**
 * The UML kernel to boot with, behind all links.
 * @param configured null: the first of the usual names on the PATH
 * @throws DrillImpossible
 */
export async function findKernel(configured: string | null): Promise<string> {
  if (configured !== null) {
    try {
      return await executable(configured);
    } catch (error) {
      const problem = `the kernel ${configured} can't be run: ${problemOf(error)}`;
      throw new UmlsnapError('DrillImpossible', { problem }, error);
    }
  }
  for (const name of usualNames) {
    for (const directory of searchPath().split(':')) {
      const found = await executable(join(directory, name)).catch(() => null);
      if (found !== null) return found;
    }
  }
  const problem = `no ${usualNames.join(' or ')} is on the PATH (Debian: user-mode-linux; or drill: { kernel: PATH })`;
  throw new UmlsnapError('DrillImpossible', { problem });
}

async function executable(path: string): Promise<string> {
  const real = await realpath(path);
  await access(real, constants.X_OK);
  if (!(await stat(real)).isFile()) throw new Error('it is no file');
  return real;
}
