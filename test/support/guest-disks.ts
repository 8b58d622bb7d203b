import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildRootfs, makeExt4Image, type RootfsOptions } from './guest-image.js';

export interface DiskOptions extends RootfsOptions {
  /** The root disk is a COW file over the built image. */
  cow?: boolean;
  /** Further ext4 disks ubd1, ubd2, …, mounted in the guest at /ubd1, /ubd2, …; by `cow`, over an image with 256 KiB of random bytes in `filler`. */
  disks?: { sizeMiB: number; cow?: boolean }[];
}

export interface GuestDisk {
  /** `ubd0` … */
  device: string;
  /** Of the image, or of the COW file. */
  path: string;
  backing?: string;
}

async function withFiller(dir: string, use: (tree: string) => Promise<void>): Promise<void> {
  const tree = join(dir, 'tree');
  await mkdir(tree);
  await writeFile(join(tree, 'filler'), randomBytes(256 * 1024));
  await use(tree);
  await rm(tree, { recursive: true });
}

/** Makes the disks of a guest in `dir`: its root disk, and the further ones. */
export async function makeDisks(options: DiskOptions, dir: string): Promise<GuestDisk[]> {
  await mkdir(dir, { recursive: true });
  const image = await buildRootfs(dir, options);
  const overlay = { path: join(dir, 'root.cow'), backing: image };
  const disks: GuestDisk[] = [{ device: 'ubd0', ...(options.cow ? overlay : { path: image }) }];
  for (const { sizeMiB, cow } of options.disks ?? []) {
    const device = `ubd${disks.length}`;
    const path = join(dir, `${device}.img`);
    if (cow) await withFiller(dir, (tree) => makeExt4Image(path, sizeMiB, tree));
    else await makeExt4Image(path, sizeMiB);
    disks.push({ device, ...(cow ? { path: join(dir, `${device}.cow`), backing: path } : { path }) });
  }
  return disks;
}
