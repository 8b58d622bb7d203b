import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type RealGuest, withGuest } from '../support/real-guest.js';
import { runTool } from '../support/run-tool.js';
import { waitFor } from '../support/wait-for.js';
import { parseGaps } from './ticks.js';
import { type Witness, withWitness } from './witness.js';

export type Stage = ReturnType<typeof stageOf>;

export const guestMemoryMiB = 96;
/** The file that the load writes: the same for each size, so that only the size differs. */
const loadFileMiB = 64;

/** Compiles what has to be quicker than Node into `dir`: the witness, and what the guest runs. */
export async function compilePrograms(dir: string): Promise<void> {
  const compile = (source: string, target: string, ...more: string[]) =>
    runTool('gcc', ['-O2', ...more, '-o', join(dir, target), join(import.meta.dirname, source)]);
  await compile('witness.c', 'witness');
  // Statically: the guest's disk has no libraries.
  for (const name of ['load', 'ticker']) await compile(`guest/${name}.c`, name, '-static');
}

/** Boots the guest, lets it write at full speed, and runs `use`. @param programs their directory */
export async function withStage<T>(
  { dir, sizeMiB, programs }: { dir: string; sizeMiB: number; programs: string },
  use: (stage: Stage) => Promise<T>,
): Promise<T> {
  const boot = {
    ...{ dir, umid: 'bench', sizeMiB, memMiB: guestMemoryMiB },
    ...{ writer: 'none' as const, bootLimitMs: 5 * 60_000 },
    // So that the image is full of data: what is left is room for the load's file, inodes and the journal.
    fillMiB: Math.floor(sizeMiB * 0.93) - loadFileMiB - 24,
  };
  return await withGuest(boot, async (guest) => {
    await startLoad(guest, programs);
    const witnessed = {
      program: join(programs, 'witness'),
      ...{ socketPath: join(dir, 'witness'), guestSocketPath: guest.socketPath },
    };
    return await withWitness(witnessed, (witness) => use(stageOf(dir, guest, witness)));
  });
}

/** A guest under load, with a witness before its console and a ticker in it. @param dir where its disk lies, and where copies go */
function stageOf(dir: string, guest: RealGuest, witness: Witness) {
  return {
    ...{ dir, guest, witness },
    /** The gaps since the last call. */
    takeGaps: async () => parseGaps(await guest.sh('/tmp/ticker take /tmp/ticks')),
    /** Written to its disk since it was booted: the seventh field counts sectors of 512 bytes. */
    writtenBytes: async () =>
      Number((await guest.sh('cat /sys/block/ubda/stat')).trim().split(/\s+/)[6]) * 512,
    requireLoad: () => requireLoad(guest),
  };
}

async function startLoad(guest: RealGuest, programs: string): Promise<void> {
  await guest.sh(`mount -t hostfs none /mnt -o ${programs}`);
  await guest.sh('cp /mnt/load /mnt/ticker /tmp && umount /mnt && mount -o remount,discard /');
  await guest.sh('/tmp/ticker run /tmp/ticks > /tmp/ticker.log 2>&1 &');
  await guest.sh(`/tmp/load /data/load ${loadFileMiB} > /tmp/load.log 2>&1 &`);
  await waitFor('the load to begin', async () => /written once/.test(await guest.sh('cat /tmp/load.log')));
  await sleep(2_000);
  await requireLoad(guest);
}

/** A load that has died would make every figure a lie. @throws Error with its last words */
async function requireLoad(guest: RealGuest): Promise<void> {
  const said = await guest.sh(
    'pidof load > /dev/null && pidof ticker > /dev/null || cat /tmp/load.log /tmp/ticker.log',
  );
  if (said !== '') throw new Error(`the load in the guest has ended: ${said.trim()}`);
}
