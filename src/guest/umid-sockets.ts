import { readFileSync } from 'node:fs';
import { opendir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../errors.js';
import { isSocket, umidDirectories } from '../mconsole/socket-lookup.js';

/** The sockets in the directories that UML makes for umids: also of guests that are dead, or that we can't see otherwise. */

const limitMs = 2000;
const maxEntries = 1000;

/**
 * Looks into our own home and, as root, into everybody's. Homes may lie on what does not answer: they are looked at one by
 * one, so that at most one look hangs, and what was not found in time is left out.
 */
export async function findUmidSockets(): Promise<string[]> {
  const found: string[] = [];
  const directories = new Set(homes().flatMap(umidDirectories));
  const looking = (async () => {
    for (const directory of directories) await collectFrom(directory, found);
  })();
  await Promise.race([looking, sleep(limitMs, undefined, { ref: false })]);
  return [...found];
}

function homes(): string[] {
  const own = process.env.HOME || homedir();
  if (process.geteuid?.() !== 0) return [own];
  const others = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':')[5] ?? '');
  return [own, ...others.filter((home) => home.startsWith('/') && home !== '/')];
}

async function collectFrom(directory: string, found: string[]): Promise<void> {
  let looked = 0;
  try {
    for await (const { name } of await opendir(directory)) {
      const path = join(directory, name, 'mconsole');
      if (await isSocket(path)) found.push(path);
      looked += 1;
      if (looked >= maxEntries) return;
    }
  } catch (error) {
    // Not there, or not for us to see.
    if (errnoOf(error) === undefined) throw error;
  }
}
