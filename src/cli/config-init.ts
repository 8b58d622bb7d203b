import { mkdir, open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { type FoundGuest, firstConfig } from '../config/first-config.js';
import { loadConfig } from '../config/load-config.js';
import { storePlaces } from '../config/store-place.js';
import { countText } from '../error-text.js';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { type DiscoveredGuest, discoverGuests } from '../guest/discover.js';
import { notifySocketOf } from '../guest/process-files.js';
import { findMconsoleSocket } from '../mconsole/socket-lookup.js';
import { emit, printLine, tell, warn } from '../output.js';
import { ownFile } from '../process-entry.js';
import type { Context } from './context.js';

/** `umlsnap config init [--write FILE]`: a config for the guests that run here; never in the place of another file. */
export async function configInitVerb(context: Context, options: { write?: string }): Promise<ExitCode> {
  const { guests, leftOut } = await discoverGuests([]);
  const text = firstConfig(await Promise.all(found(guests)), schemaFile());
  if (leftOut > 0)
    warn(
      `warning: ${countText(leftOut, 'more socket was', 'more sockets were')} not looked at: there are too many.`,
    );
  if (options.write === undefined) {
    emit(context.output, { type: 'config', text });
    if (!context.output.json) printLine(text.trimEnd());
    return exitCodes.done;
  }
  const file = resolve(options.write);
  await writeNew(file, text);
  const { guests: taken } = await loadConfig(file);
  const names = Object.keys(taken);
  emit(context.output, { type: 'summary', kind: 'configInit', file, guests: names });
  tell(
    context.output,
    `Wrote ${file} with ${names.length === 0 ? 'no guest' : `guests ${names.join(', ')}`}.`,
  );
  tell(context.output, `Look at it, then: umlsnap -c ${file} doctor`);
  return exitCodes.done;
}

function found(guests: readonly DiscoveredGuest[]): Promise<FoundGuest>[] {
  const places = storePlaces(guests.flatMap(({ disks }) => disks.map(({ path }) => path)));
  return guests.map(async ({ umid, socketPath, kernel, pid, problem, disks, lockedFiles }) => ({
    ...{ umid, kernel, problem: problem?.message ?? null },
    notify: (pid === null ? undefined : notifySocketOf(pid)) ?? null,
    mconsole: (await isFoundByUmid(umid, socketPath)) ? umid : socketPath,
    disks: disks.map((disk) => ({
      ...disk,
      isConfirmed: lockedFiles.some(({ path, lock }) => path === disk.path && lock === 'write'),
      storePath: places.get(disk.path),
    })),
  }));
}

/** By whoever runs umlsnap as we are run now: a umid is looked for in his home. */
async function isFoundByUmid(umid: string, socketPath: string): Promise<boolean> {
  try {
    return (await findMconsoleSocket(umid)) === socketPath;
  } catch (error) {
    if (error instanceof UmlsnapError) return false;
    throw error;
  }
}

/** Of this very umlsnap, wherever it is installed; there is no other place for it yet. */
function schemaFile(): string {
  return ownFile('docs/config.schema.json');
}

async function writeNew(file: string, text: string): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const handle = await open(file, 'wx', 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    const why =
      errno === 'EEXIST' && (error as { syscall?: string }).syscall === 'open'
        ? 'it is there already, and is left as it is'
        : problemOf(error);
    throw new UmlsnapError('Usage', { problem: `--write ${file}: ${why}.` }, error);
  }
}
