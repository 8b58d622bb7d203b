import type { FileHandle } from 'node:fs/promises';
import { processEntry } from '../../process-entry.js';
import { type EndWord, type KillableChild, startKillableChild } from '../killable-child.js';
import type { PrecopyOrder } from './precopy-order.js';
import type { ChildTracking, PrecopyOrderWord, PrecopyWord } from './precopy-words.js';

/** The child tells its progress several times a second while the guest runs, whatever its threads wait for. */
const silenceLimitSeconds = 30;

type Progress = Extract<PrecopyWord, { is: 'progress' }>;
export type Answer = Exclude<PrecopyWord, Progress>;

/** The precopy child as its parent sees it. */
export class PrecopyProcess {
  readonly #child: KillableChild<PrecopyOrderWord, PrecopyWord>;
  readonly #devices: string;
  readonly #onProgress: (word: Progress) => void;

  constructor(order: PrecopyOrder, targets: FileHandle[], onProgress: (word: Progress) => void) {
    this.#devices = order.disks.map(({ device }) => device).join(', ');
    this.#onProgress = onProgress;
    this.#child = startKillableChild(
      processEntry('precopy-child'),
      order.disks.flatMap((disk, index) => [disk.sourceFd, targets[index]?.fd ?? -1]),
      this.#devices,
    );
  }

  /** Resolves when everything was copied once, and what was written meanwhile too. */
  arm({ disks, bytesPerSecond, pauseTargetMs }: PrecopyOrder, tracking: ChildTracking): Promise<Answer> {
    return this.#watched({
      is: 'arm',
      parentPid: process.pid,
      disks: disks.map(({ device, sizeBytes }) => ({ device, sizeBytes })),
      tracking,
      bytesPerSecond,
      pauseTargetMs,
    });
  }

  catchUp(roundsLimitMs: number | null): Promise<Answer> {
    return this.#watched({ is: 'catchUp', roundsLimitMs });
  }

  /** The pause: nothing watches it but its budget. */
  capture(): Promise<Answer> {
    this.#child.send({ is: 'go' });
    return this.#answer(() => {});
  }

  readonly kill = () => this.#child.kill();

  end(): Promise<void> {
    return this.#child.end();
  }

  /** A child that is silent is stopped or hangs. Ticks are counted, not time: a machine that slept is no child that did. */
  async #watched(order: PrecopyOrderWord): Promise<Answer> {
    let silentSeconds = 0;
    let silence: EndWord | undefined;
    const timer = setInterval(() => {
      silentSeconds += 1;
      if (silentSeconds < silenceLimitSeconds) return;
      const message = `the capture process said nothing for ${silenceLimitSeconds} s`;
      silence = { is: 'failed', device: this.#devices, message, code: undefined, syscall: undefined };
      this.kill();
    }, 1000);
    try {
      this.#child.send(order);
      const answer = await this.#answer(() => {
        silentSeconds = 0;
      });
      return silence ?? answer;
    } finally {
      clearInterval(timer);
    }
  }

  async #answer(onWord: () => void): Promise<Answer> {
    for (;;) {
      const word = await this.#child.next();
      onWord();
      if (word.is !== 'progress') return word;
      this.#onProgress(word);
    }
  }
}
