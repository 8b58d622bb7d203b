import type { FileHandle } from 'node:fs/promises';
import type { DiskConfig, GuestConfig } from '../config/config.js';
import { UmlsnapError } from '../errors.js';
import { hasCowHeader } from '../guest/guest-disks.js';
import { type OpenDisk, openDisk } from '../image/open-disk.js';

/** A disk of the config, with its files open. */
export interface SourceDisk {
  config: DiskConfig;
  image: OpenDisk;
  backing?: { path: string; handle: FileHandle };
}

/** Runs `use` with all disks of a guest open for reading. @throws DiskUnusable */
export async function withSourceDisks<T>(
  config: GuestConfig,
  use: (disks: SourceDisk[]) => Promise<T>,
): Promise<T> {
  const disks: SourceDisk[] = [];
  try {
    for (const disk of config.disks) disks.push(await openSourceDisk(config.name, disk));
    return await use(disks);
  } finally {
    for (const disk of disks) {
      await disk.image.handle.close();
      await disk.backing?.handle.close();
    }
  }
}

async function openSourceDisk(guest: string, config: DiskConfig): Promise<SourceDisk> {
  const image = await openDisk(guest, config.device, config.path);
  if (config.backing === undefined) return { config, image };
  try {
    if (!(await hasCowHeader(image.handle))) {
      throw new UmlsnapError('DiskUnusable', {
        guest,
        device: config.device,
        path: config.path,
        problem: 'the config gives it a backing file, but it has no COW header',
      });
    }
    const backing = await openDisk(guest, config.device, config.backing);
    return { config, image, backing: { path: config.backing, handle: backing.handle } };
  } catch (error) {
    await image.handle.close();
    throw error;
  }
}

/** Name of a disk's file in a snapshot. */
export function fileNameOf(config: DiskConfig): string {
  return `${config.device}.${config.backing === undefined ? 'img' : 'cow'}`;
}
