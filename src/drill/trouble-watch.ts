import { freeBytesIn } from '../restore/filesystems/scratch.js';
import { spareBytes } from './drill-place.js';
import type { GuestFailure } from './guest-failure.js';
import { privateBytesOfSandbox } from './sandbox-memory.js';
import type { SandboxedGuest } from './sandboxed-guest.js';

const troubleEveryMs = 1000;

/**
 * Runs `use` while it is looked now and then at what no bound of a single process or file bounds: the room that the guest takes by
 * filling the holes of its disks, and the private memory of all of its processes together. `use` asks for what was found.
 */
export async function withTroubleWatch<T>(
  guest: SandboxedGuest,
  scratch: string,
  memoryBytes: number,
  use: (trouble: () => GuestFailure | null) => Promise<T>,
): Promise<T> {
  let found: GuestFailure | null = null;
  let failure: unknown;
  const look = async () => {
    const freeBytes = await freeBytesIn(scratch);
    if (freeBytes < spareBytes / 4) {
      found ??= {
        failure: 'wroteTooMuch',
        detail: `${Math.floor(freeBytes / 2 ** 20)} MiB are left in ${scratch}`,
      };
    }
    const pid = Number(/^\/proc\/(\d+)\//.exec(guest.root() ?? '')?.[1] ?? 0);
    const privateBytes = pid === 0 ? 0 : await privateBytesOfSandbox(pid);
    if (privateBytes > memoryBytes + spareBytes) {
      found ??= {
        failure: 'tookTooMuchMemory',
        detail: `${Math.floor(privateBytes / 2 ** 20)} MiB beside its own`,
      };
    }
  };
  const timer = setInterval(() => {
    look().catch((error: unknown) => {
      failure ??= error;
    });
  }, troubleEveryMs);
  try {
    return await use(() => {
      if (failure !== undefined) throw failure;
      return found;
    });
  } finally {
    clearInterval(timer);
  }
}
