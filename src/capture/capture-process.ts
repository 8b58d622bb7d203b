import type { FileHandle } from 'node:fs/promises';
import { processEntry } from '../process-entry.js';
import type { CaptureDisk, CaptureMethod } from './capture.js';
import type { ArmWord, ChildWord, GoWord } from './child-words.js';
import { startKillableChild } from './killable-child.js';

/**
 * Starting takes some 60 ms, and the rehearsal of a reflink as long as the disk's dirty pages take to be written. A machine on
 * which all that takes so long is in no state to pause a guest.
 */
const startLimitMs = 60_000;

export interface CaptureChild {
  /** Says go. Resolves with what became of it; a child that ends without a word has failed. */
  capture(): Promise<ChildWord>;
  /** SIGKILL, at once. */
  kill(): void;
  /** Kills it and waits until it is gone, within reason. */
  end(): Promise<void>;
}

/**
 * Starts the capture child.
 * @returns once it says that it is ready; its word, and nothing else left of it, when it says anything else
 */
export async function startCaptureChild(
  method: Exclude<CaptureMethod, 'precopy'>,
  disks: CaptureDisk[],
  targets: FileHandle[],
): Promise<CaptureChild | ChildWord> {
  const child = startKillableChild<ArmWord | GoWord, ChildWord>(
    processEntry('capture-child'),
    disks.flatMap((disk, index) => [disk.sourceFd, targets[index]?.fd ?? -1]),
    disks.map(({ device }) => device).join(', '),
  );
  const startLimit = setTimeout(child.kill, startLimitMs);
  child.send({
    is: 'arm',
    method,
    parentPid: process.pid,
    disks: disks.map(({ device, sizeBytes }) => ({ device, sizeBytes })),
  });
  const first = await child.next();
  clearTimeout(startLimit);
  if (first.is !== 'ready') {
    await child.end();
    return first;
  }
  return {
    capture: () => {
      child.send({ is: 'go' });
      return child.next();
    },
    kill: child.kill,
    end: child.end,
  };
}
