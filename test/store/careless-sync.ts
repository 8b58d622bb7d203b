import type { FileHandle } from 'node:fs/promises';

/** From now on no fsync of a directory does anything in this process. @param handle any, closed here */
export async function leaveOutDirectories(handle: FileHandle): Promise<void> {
  const prototype = Object.getPrototypeOf(handle);
  const sync: () => Promise<void> = prototype.sync;
  prototype.sync = async function careless(this: FileHandle) {
    if (!(await this.stat()).isDirectory()) await sync.call(this);
  };
  await handle.close();
}
