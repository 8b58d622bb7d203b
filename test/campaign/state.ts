import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import type { Trial } from './campaign.js';

export interface Machine {
  host: string;
  guest: string;
  revision: string;
}

export interface Entry extends Trial, Machine {
  /** The number of its first trial. */
  first: number;
  seed: number;
  at: string;
  ms: number;
}

/** What a campaign has done so far: a file, `NAME.jsonl`, with a line for each trial. */
export class CampaignState {
  readonly #file: string;
  readonly entries: Entry[];

  constructor(dir: string, name: string) {
    mkdirSync(dir, { recursive: true });
    this.#file = join(dir, `${name}.jsonl`);
    const text = existsSync(this.#file) ? readFileSync(this.#file) : Buffer.alloc(0);
    const soundBytes = text.lastIndexOf('\n') + 1;
    const lines = text.toString('utf8', 0, soundBytes).split('\n').filter(Boolean);
    this.entries = lines.map((line) => JSON.parse(line) as Entry);
    // Half a line of a campaign that was killed: what comes next must not be written behind it.
    if (soundBytes < text.length) truncateSync(this.#file, soundBytes);
  }

  get done(): number {
    return this.entries.reduce((sum, { count }) => sum + count, 0);
  }

  /** Undefined before the first trial. */
  get seed(): number | undefined {
    return this.entries[0]?.seed;
  }

  add(entry: Entry): void {
    appendFileSync(this.#file, `${JSON.stringify(entry)}\n`);
    this.entries.push(entry);
  }

  forget(): void {
    rmSync(this.#file, { force: true });
    this.entries.length = 0;
  }
}
