/** How fast something gets on lately, and how long the rest takes at that. */
export interface PaceNow {
  /** null: too little is known. */
  bytesPerSecond: number | null;
  leftMs: number | null;
}

interface Mark {
  atMs: number;
  doneBytes: number;
}

/** So far back that one slow moment does not count for all, and an hour ago for nothing. */
const windowMs = 20_000;
const leastMs = 1000;

/** The pace of works that tell how far they are, each by its name. */
export class ProgressPace {
  readonly #marks = new Map<string, Mark[]>();

  /** @param nowMs on a clock that nobody sets */
  of(name: string, doneBytes: number, totalBytes: number, nowMs: number): PaceNow {
    const known = this.#marks.get(name) ?? [];
    const last = known.at(-1);
    // It begins anew: another file, or another round.
    const marks = last && last.doneBytes > doneBytes ? [] : known;
    marks.push({ atMs: nowMs, doneBytes });
    while (marks.length > 2 && nowMs - (marks[1]?.atMs ?? nowMs) >= windowMs) marks.shift();
    this.#marks.set(name, marks);
    const [first] = marks;
    const tookMs = nowMs - (first?.atMs ?? nowMs);
    const cameBytes = doneBytes - (first?.doneBytes ?? doneBytes);
    if (tookMs < leastMs || cameBytes <= 0) return { bytesPerSecond: null, leftMs: null };
    const bytesPerSecond = (cameBytes * 1000) / tookMs;
    return { bytesPerSecond, leftMs: ((totalBytes - doneBytes) * 1000) / bytesPerSecond };
  }
}
