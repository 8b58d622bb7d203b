import type { DiskConfig, GuestConfig } from '../config/config.js';
import { type OpenDisk, openDisk } from '../image/open-disk.js';

/** The disks of a guest, open for reading as for a backup. */
export type OpenDisks = { config: DiskConfig; image: OpenDisk; backing?: OpenDisk }[];

/** Runs `use` with them. @throws DiskUnusable */
export async function withOpenDisks<T>(
  { name, disks }: GuestConfig,
  use: (open: OpenDisks) => Promise<T>,
): Promise<T> {
  const opened: OpenDisk[] = [];
  const openOne = async (device: string, path: string) => {
    const disk = await openDisk(name, device, path);
    opened.push(disk);
    return disk;
  };
  try {
    const open: OpenDisks = [];
    for (const config of disks) {
      const image = await openOne(config.device, config.path);
      const { backing } = config;
      open.push({
        config,
        image,
        ...(backing !== undefined && { backing: await openOne(config.device, backing) }),
      });
    }
    return await use(open);
  } finally {
    for (const { handle } of opened) await handle.close();
  }
}
