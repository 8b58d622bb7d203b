import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { whyNoLoopMount, withLoopFilesystem } from '../support/loop-filesystem.js';
import { runTool } from '../support/run-tool.js';
import type { BenchFilesystem } from './options.js';

/** A directory on the filesystem to be measured. */
export interface Place {
  dir: string;
  /** For the report. */
  description: string;
}

interface MountedOn {
  source: string;
  type: string;
}

/** What `dir` lies on. */
export async function mountOf(dir: string): Promise<MountedOn> {
  const found = await runTool('findmnt', ['--noheadings', '--output', 'SOURCE,FSTYPE', '--target', dir]);
  const [source = '', type = ''] = found.toString().trim().split(/\s+/);
  return { source, type };
}

/** Undefined where `withPlace` works, otherwise why not. */
export async function whyNoPlace(filesystem: BenchFilesystem, dir: string): Promise<string | undefined> {
  return (await mountOf(dir)).type === filesystem ? undefined : whyNoLoopMount(filesystem);
}

/**
 * Runs `use` in a directory on this filesystem that is gone afterwards: below `dir`, if that is on one, else on a loop
 * device with room for a guest of this size, two copies, and one in the making.
 */
export async function withPlace(
  filesystem: BenchFilesystem,
  dir: string,
  largestMiB: number,
  use: (place: Place) => Promise<void>,
): Promise<void> {
  const { source, type } = await mountOf(dir);
  if (type === filesystem) {
    const own = join(dir, 'm');
    await mkdir(own, { recursive: true });
    return await use({ dir: own, description: `${type} on ${source}` });
  }
  const sizeMiB = largestMiB * 4 + 1024;
  const description = `${filesystem} on a loop device whose file lies on ${type} on ${source}`;
  await withLoopFilesystem({ type: filesystem, sizeMiB }, (mountPoint) =>
    use({ dir: mountPoint, description }),
  );
}
