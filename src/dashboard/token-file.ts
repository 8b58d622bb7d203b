import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';

/** Fewer characters can be guessed. */
const minChars = 32;
const maxChars = 4096;

/**
 * The secret in the token file, which is made with one where it is not there. One that others may read, or that is another
 * user's, proves nothing, and is refused.
 * @throws DashboardUnusable
 */
export function readToken(path: string): string {
  try {
    makeIfMissing(path);
    const token = readCarefully(path).trim();
    if (token.length >= minChars && token.length <= maxChars && /^[\x21-\x7e]+$/.test(token)) return token;
    throw new Error(`it must hold one word of ${minChars} characters or more`);
  } catch (error) {
    const problem = `its token file ${path} is no good: ${problemOf(error)}`;
    throw new UmlsnapError('DashboardUnusable', { problem }, error);
  }
}

/** It MUST have its secret before it has its name: a death in between would leave an empty one for good. */
function makeIfMissing(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })) return;
  const draft = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    const file = openSync(draft, 'wx', 0o600);
    try {
      writeSync(file, `${randomBytes(32).toString('base64url')}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    linkSync(draft, path);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

function readCarefully(path: string): string {
  const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { uid, mode, size } = fstatSync(file);
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw new Error('it is not a regular file');
    if (uid !== process.geteuid?.() && uid !== 0) throw new Error('it belongs to another user');
    if ((mode & 0o077) !== 0) throw new Error('others may read or write it: chmod 600');
    if (size > maxChars) throw new Error('it is too large');
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}
