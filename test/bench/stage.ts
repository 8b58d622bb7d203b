import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type RealGuest, withGuest } from '../support/real-guest.js';
import { waitFor } from '../support/wait-for.js';
import type { Programs } from './programs.js';
import { type Gap, parseGaps } from './ticks.js';
import { type Witness, withWitness } from './witness.js';

/** A guest under load, with a witness before its console and a ticker in it. */
export interface Stage {
  /** Where its disk lies, and where copies go. */
  dir: string;
  guest: RealGuest;
  witness: Witness;
  /** The gaps since the last call. */
  takeGaps(): Promise<Gap[]>;
  /** Written to its disk since it was booted. */
  writtenBytes(): Promise<number>;
  /** A load that has died would make every figure a lie. @throws Error with its last words */
  requireLoad(): Promise<void>;
}

export interface StageOptions {
  dir: string;
  sizeMiB: number;
  programs: Programs;
}

export const guestMemoryMiB = 96;
/** The file that the load writes: the same for each size, so that only the size differs. */
export const loadFileMiB = 64;

/** Boots the guest, lets it write at full speed, and runs `use`. */
export async function withStage<T>(options: StageOptions, use: (stage: Stage) => Promise<T>): Promise<T> {
  const { dir, sizeMiB, programs } = options;
  const boot = { dir, umid: 'bench', sizeMiB, fillMiB: fillOf(sizeMiB), memMiB: guestMemoryMiB };
  return await withGuest({ ...boot, writer: 'none' as const, bootLimitMs: 5 * 60_000 }, async (guest) => {
    await startLoad(guest, programs);
    const sockets = { listenPath: join(dir, 'witness'), guestSocketPath: guest.socketPath };
    return await withWitness({ program: programs.witness, ...sockets }, async (witness) => {
      return await use({
        ...{ dir, guest, witness },
        takeGaps: async () => parseGaps(await guest.sh('/tmp/ticker take /tmp/ticks')),
        writtenBytes: async () => writtenBytesOf(await guest.sh('cat /sys/block/ubda/stat')),
        requireLoad: () => requireLoad(guest),
      });
    });
  });
}

/** So that the image is full of data: what is left is room for the load's file, inodes and the journal. */
function fillOf(sizeMiB: number): number {
  return Math.floor(sizeMiB * 0.93) - loadFileMiB - 24;
}

async function startLoad(guest: RealGuest, { guestDirectory }: Programs): Promise<void> {
  await guest.sh(`mount -t hostfs none /mnt -o ${guestDirectory}`);
  await guest.sh('cp /mnt/load /mnt/ticker /tmp && umount /mnt && mount -o remount,discard /');
  await guest.sh('/tmp/ticker run /tmp/ticks > /tmp/ticker.log 2>&1 &');
  await guest.sh(`/tmp/load /data/load ${loadFileMiB} > /tmp/load.log 2>&1 &`);
  await waitFor('the load to begin', async () => /written once/.test(await guest.sh('cat /tmp/load.log')));
  await sleep(2_000);
  await requireLoad(guest);
}

async function requireLoad(guest: RealGuest): Promise<void> {
  const said = await guest.sh(
    'pidof load > /dev/null && pidof ticker > /dev/null || cat /tmp/load.log /tmp/ticker.log',
  );
  if (said !== '') throw new Error(`the load in the guest has ended: ${said.trim()}`);
}

/** /sys/block/ubda/stat: the seventh field counts sectors of 512 bytes. */
function writtenBytesOf(stat: string): number {
  return Number(stat.trim().split(/\s+/)[6]) * 512;
}
