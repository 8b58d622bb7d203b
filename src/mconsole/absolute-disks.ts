import { realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf } from '../errors.js';

/**
 * `config ubdN=FILE` or `=COW,BACKING` with the files named from the root, as `uml_mconsole` does it: they are meant from
 * where we are, and the guest would look from where it was started. Any other command comes back as it is, and so does a
 * file whose directory is not there.
 */
export async function withAbsoluteDisks(command: string): Promise<string> {
  const [, head, files] = /^(config\s*ubd[^=]*=)(.+)$/s.exec(command) ?? [];
  if (head === undefined || files === undefined) return command;
  const comma = files.indexOf(',');
  const names = comma < 0 ? [files] : [files.slice(0, comma), files.slice(comma + 1)];
  return head + (await Promise.all(names.map(fromTheRoot))).join(',');
}

async function fromTheRoot(name: string): Promise<string> {
  if (name === '') return name;
  try {
    return join(await realpath(dirname(name)), basename(name));
  } catch (error) {
    if (errnoOf(error) !== undefined) return name;
    throw error;
  }
}
