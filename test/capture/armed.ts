import { join } from 'node:path';
import type { CaptureDisk, CapturedDisks, CaptureFacts } from '../../src/capture/capture.js';
import { fromSentError } from '../../src/errors.js';
import { CaptureProcess, type CaptureRequest } from '../../src/pause/capture-process.js';
import { type FakeGuest, startFakeGuest } from '../fixtures/fake-guest.js';
import { identityOf } from '../pause/paused-fake.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

/** A disk by its name as well. */
export interface NamedDisk extends CaptureDisk {
  sourcePath: string;
}

/** A capture without a guest's disks behind it: whoever writes them is the test's affair. A fake guest stands still for its pause. */
export interface Armed {
  catchUp(signal: AbortSignal): Promise<void>;
  /** The pause. @throws what went wrong in it */
  run(signal: AbortSignal, roundsLimitMs?: number): Promise<CapturedDisks>;
  facts(): CaptureFacts | null;
  dispose(): Promise<void>;
}

export const idle = new AbortController().signal;

let fake: { guest: FakeGuest; dir: string } | undefined;

async function fakeGuest(): Promise<FakeGuest> {
  if (fake) return fake.guest;
  const dir = await makeTempDir();
  fake = { dir, guest: await startFakeGuest({ dir: join(dir, 'g') }) };
  return fake.guest;
}

/** To be called when all tests of a file are through. */
export async function endFakeGuest(): Promise<void> {
  await fake?.guest.stop();
  if (fake) await removeTempDir(fake.dir);
  fake = undefined;
}

export async function arm(
  request: Pick<CaptureRequest, 'disks' | 'method'> & Partial<CaptureRequest>,
): Promise<Armed> {
  const guest = await fakeGuest();
  await guest.renew([]);
  const capture = await CaptureProcess.arm({
    ...{ guest: 'debian', tracing: null, bytesPerSecond: null },
    ...{ pauseTargetMs: 5, budgetMs: 60_000, signal: idle, ...request },
  });
  const run = async (signal: AbortSignal, roundsLimitMs: number | null = null) => {
    const result = await capture.pause(
      {
        ...{ socketPath: guest.socketPath, main: identityOf(guest), ioTasks: [], roundsLimitMs },
        ...{ huntMs: null, isLastTry: true, isContentWithCrash: true },
        terms: {
          ...{ guest: 'debian', devices: ['ubd0'], budgetMs: 60_000, isSmp: false, isFrozen: false },
          ...{
            goesByFreeze: false,
            synced: { dirtyKib: 0, inFlight: 0, completedWrites: 0, diskWrites: [] },
          },
        },
      },
      signal,
    );
    if (result.type === 'broken') throw new Error(`the fake guest: ${result.how}`);
    if (result.error) throw fromSentError(result.error);
    return result.disks ?? new Map();
  };
  return {
    catchUp: (signal) => capture.catchUp(signal),
    run,
    facts: () => capture.facts,
    dispose: () => capture.dispose(),
  };
}

export const armCopy = (_: string, disks: CaptureDisk[]): Promise<Armed> => arm({ disks, method: 'copy' });
export const armReflink = (_: string, disks: CaptureDisk[]): Promise<Armed> =>
  arm({ disks, method: 'reflink' });
