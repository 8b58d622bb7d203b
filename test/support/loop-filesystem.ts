import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterOurDeath } from './death-watch.js';
import { runTool } from './run-tool.js';
import { makeTempDir, removeTempDir, roomInMemory } from './temp-dir.js';

export type FilesystemType = 'ext4' | 'xfs' | 'btrfs';

interface LoopFilesystemOptions {
  type: FilesystemType;
  /** XFS wants 300 or more, btrfs 110. */
  sizeMiB: number;
  /** ext4 only. */
  inodes?: number;
  /** Done to the image before it is mounted. */
  prepare?: (image: string) => Promise<unknown>;
  /** In memory, where there is that much of it: for what writes often, and is about the order of it and not the disk. */
  inMemory?: boolean;
}

export type LoopFilesystem = Awaited<ReturnType<typeof mountLoopFilesystem>>;

/** Undefined where a filesystem of this type can be mounted, otherwise the reason for a test to skip, said aloud. */
export function whyNoLoopMount(type: FilesystemType): string | undefined {
  if (process.getuid?.() !== 0) return 'mounting a loop filesystem needs root';
  if (!existsSync('/dev/loop-control')) return 'this machine has no loop devices';
  const tool = `mkfs.${type}`;
  const found = ['/usr/sbin', '/sbin', '/usr/bin'].some((dir) => existsSync(join(dir, tool)));
  return found ? undefined : `${tool} is not installed`;
}

export function canLoopMount(type: FilesystemType = 'ext4'): boolean {
  return whyNoLoopMount(type) === undefined;
}

/** Runs `use` on a fresh filesystem of its own; XFS and btrfs have reflinks. */
export async function withLoopFilesystem<T>(
  options: LoopFilesystemOptions,
  use: (mountPoint: string, filesystem: LoopFilesystem) => Promise<T>,
): Promise<T> {
  const filesystem = await mountLoopFilesystem(options);
  try {
    return await use(filesystem.mountPoint, filesystem);
  } finally {
    await filesystem.remove();
  }
}

/** As `withLoopFilesystem`, for beforeAll and afterAll. The loop device goes with its mount (autoclear). */
export async function mountLoopFilesystem(options: LoopFilesystemOptions) {
  const { type, sizeMiB, inodes, prepare, inMemory } = options;
  const dir = await makeTempDir(inMemory ? await roomInMemory() : undefined);
  const image = join(dir, 'filesystem.img');
  const mountPoint = join(dir, 'm');
  // No blocks kept back for root: a full disk has to be full for us too.
  const ext4Args = ['-F', '-m', '0', ...(inodes === undefined ? [] : ['-N', String(inodes)])];
  try {
    await runTool('truncate', ['-s', `${sizeMiB}M`, image]);
    await runTool(`mkfs.${type}`, ['-q', ...(type === 'ext4' ? ext4Args : []), image]);
    await prepare?.(image);
    await mkdir(mountPoint);
    await runTool('mount', ['-o', 'loop', '-t', type, image, mountPoint]);
  } catch (error) {
    await removeTempDir(dir);
    throw error;
  }
  const watch = afterOurDeath('umount -l "$1"', [mountPoint]);
  let removed = false;
  /** Unmounts it and removes all of it; a second call does nothing. */
  const remove = async () => {
    if (removed) return;
    removed = true;
    // Lazily: what still holds it open must not keep the rest of a test run from being cleared away.
    await runTool('umount', [mountPoint]).catch(() => runTool('umount', ['-l', mountPoint]));
    watch.cancel();
    await removeTempDir(dir);
  };
  return { mountPoint, image, remove };
}
