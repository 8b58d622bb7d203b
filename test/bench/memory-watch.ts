import { readdirSync, readFileSync } from 'node:fs';
import { errnoOf } from '../../src/errors.js';
import type { MemoryPeak } from './measurement.js';

/** Seldom: it takes some milliseconds, which the pause would feel. The kernel itself keeps the peak of the command. */
const everyMs = 250;

/** Watches what a process and all that it has started hold in memory, until it is stopped. */
export class MemoryWatch {
  readonly #pid: number;
  readonly #timer: NodeJS.Timeout;
  readonly #peak: MemoryPeak = { ownBytes: 0, togetherBytes: 0 };

  constructor(pid: number) {
    this.#pid = pid;
    this.#timer = setInterval(() => this.#look(), everyMs);
  }

  stop(): MemoryPeak {
    clearInterval(this.#timer);
    return this.#peak;
  }

  #look(): void {
    const ownBytes = statusBytes(this.#pid, 'VmHWM');
    const togetherBytes = familyOf(this.#pid).reduce((sum, pid) => sum + statusBytes(pid, 'VmRSS'), 0);
    this.#peak.ownBytes = Math.max(this.#peak.ownBytes, ownBytes);
    this.#peak.togetherBytes = Math.max(this.#peak.togetherBytes, togetherBytes);
  }
}

/** The process and its descendants, also those in sessions of their own. */
function familyOf(pid: number): number[] {
  const family = new Set([pid]);
  const others = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => ({ pid: Number(name), parent: parentOf(name) }));
  // A child may have a lower number than its parent: they are given out in a circle.
  for (let before = 0; before < family.size; ) {
    before = family.size;
    for (const other of others) if (family.has(other.parent)) family.add(other.pid);
  }
  return [...family];
}

function parentOf(pid: string): number {
  const stat = unlessGone('', () => readFileSync(`/proc/${pid}/stat`, 'utf8'));
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0);
}

function statusBytes(pid: number, field: string): number {
  const status = unlessGone('', () => readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(new RegExp(`^${field}:\\s*(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0) * 1024;
}

function unlessGone<T>(otherwise: T, look: () => T): T {
  try {
    return look();
  } catch (error) {
    // It ended since it was listed.
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return otherwise;
    throw error;
  }
}
