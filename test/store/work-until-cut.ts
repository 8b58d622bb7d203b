import { type FileHandle, open } from 'node:fs/promises';
import type { Store } from '../../src/store/store.js';

/**
 * For a process that works in the store of its first argument until it is killed, with a scratch directory as its second. It
 * tells each thing before it begins (`removing NAME`) and once it is acknowledged (`sealed`, `pinned`, `removed`). With
 * `careless` as its third, every fsync of a directory is left out.
 */
export const [path = '', scratch = '', manner = ''] = process.argv.slice(2);

export const say = (...words: string[]) => process.stdout.write(`${words.join(' ')}\n`);

/** A snapshot each second. */
export function timeOf(number: number): { takenAt: string; directory: string } {
  const takenAt = new Date(Date.UTC(2026, 10, 21) + number * 1000).toISOString();
  return { takenAt, directory: takenAt.replace(/[-:]|\.\d+/g, '') };
}

export async function begin(store: Store): Promise<void> {
  if (manner === 'careless') await leaveOutDirectories(await open(scratch));
  await store.prepare(null);
  say('ready');
}

export async function pin(store: Store, snapshot: string, pinned: boolean): Promise<void> {
  say('pinning', snapshot);
  await store.setPinned(snapshot, pinned);
  say(pinned ? 'pinned' : 'unpinned', snapshot);
}

async function leaveOutDirectories(handle: FileHandle): Promise<void> {
  const prototype = Object.getPrototypeOf(handle);
  const sync: () => Promise<void> = prototype.sync;
  prototype.sync = async function careless(this: FileHandle) {
    if (!(await this.stat()).isDirectory()) await sync.call(this);
  };
  await handle.close();
}
