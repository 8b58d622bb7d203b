/** What one bit stands for. */
export const blockBytes = 4096;
const blocksPerWord = 32;
/** Longer runs are given out in pieces, so that whoever takes them can pause or stop in between. */
const maxRunBlocks = 256;

/** The memory of a map, for another thread to make its own `BlockMap` of. */
export interface SharedBlockMap {
  sizeBytes: number;
  words: SharedArrayBuffer;
  /** One bit for each word that may have bits: an image of terabytes is not walked for the few that are set. */
  summary: SharedArrayBuffer;
}

/**
 * Which blocks of a disk must be copied (again): set by the thread that follows the guest's writes, taken by the one that copies. A
 * block MUST be taken before it is read: a write that comes meanwhile sets it again, and is in the next round.
 */
export class BlockMap {
  readonly #words: Int32Array;
  readonly #summary: Int32Array;

  /** @throws RangeError for a disk whose map no memory could hold */
  static ofSize(sizeBytes: number): BlockMap {
    const words = Math.ceil(sizeBytes / blockBytes / blocksPerWord);
    return new BlockMap({
      sizeBytes,
      words: new SharedArrayBuffer(words * 4),
      summary: new SharedArrayBuffer(Math.ceil(words / blocksPerWord) * 4),
    });
  }

  constructor(readonly shared: SharedBlockMap) {
    this.#words = new Int32Array(shared.words);
    this.#summary = new Int32Array(shared.summary);
  }

  /** Sets the blocks that the stretch touches; what lies beyond the disk's end is not of interest here. */
  mark(offset: number, length: number): void {
    const end = Math.min(offset + length, this.shared.sizeBytes);
    if (length <= 0 || end <= offset) return;
    const lastBlock = Math.floor((end - 1) / blockBytes);
    let block = Math.floor(offset / blockBytes);
    while (block <= lastBlock) {
      const word = Math.floor(block / blocksPerWord);
      const firstBit = block % blocksPerWord;
      const bits = Math.min(blocksPerWord - firstBit, lastBlock - block + 1);
      this.#set(word, bits === blocksPerWord ? -1 : ((1 << bits) - 1) << firstBit);
      block += bits;
    }
  }

  /**
   * Takes out what is set and shows it run by run, in order, until `mayGoOn` says no after one; what was not shown stays set.
   * Runs are about 1 MiB at most, and end at the disk's end.
   */
  take(visit: (offset: number, length: number) => void, mayGoOn: () => boolean = always): void {
    const run = { start: 0, end: 0 };
    for (let group = 0; group < this.#summary.length; group++) {
      if (Atomics.load(this.#summary, group) === 0) continue;
      let words = Atomics.exchange(this.#summary, group, 0);
      while (words !== 0) {
        const word = group * blocksPerWord + lowestBit(words);
        words &= words - 1;
        if (this.#takeWord(word, run, visit, mayGoOn)) continue;
        Atomics.or(this.#summary, group, words);
        return;
      }
    }
    this.#show(run, visit);
  }

  /** How much is set, in whole blocks. */
  markedBytes(): number {
    let blocks = 0;
    for (let group = 0; group < this.#summary.length; group++) {
      for (let words = Atomics.load(this.#summary, group); words !== 0; words &= words - 1) {
        blocks += countBits(Atomics.load(this.#words, group * blocksPerWord + lowestBit(words)));
      }
    }
    return blocks * blockBytes;
  }

  /** @returns false when it was told to stop; then everything that was taken has been shown or set again */
  #takeWord(
    word: number,
    run: { start: number; end: number },
    visit: (offset: number, length: number) => void,
    mayGoOn: () => boolean,
  ): boolean {
    let bits = Atomics.exchange(this.#words, word, 0);
    while (bits !== 0) {
      const first = lowestBit(bits);
      const length = lowestBit(~(bits >> first));
      const count = Math.min(length, blocksPerWord - first);
      const start = word * blocksPerWord + first;
      const unshown = bits;
      bits = first + count === blocksPerWord ? 0 : bits & (-1 << (first + count));
      if (start === run.end && run.end - run.start < maxRunBlocks) {
        run.end += count;
        continue;
      }
      const wasShown = this.#show(run, visit);
      run.start = start;
      run.end = start + count;
      if (wasShown && !mayGoOn()) {
        this.#set(word, unshown);
        return false;
      }
    }
    return true;
  }

  #set(word: number, bits: number): void {
    Atomics.or(this.#words, word, bits);
    // After the word: the taker clears them in the other order, and so never leaves a bit that no summary shows.
    Atomics.or(this.#summary, Math.floor(word / blocksPerWord), 1 << (word % blocksPerWord));
  }

  #show(run: { start: number; end: number }, visit: (offset: number, length: number) => void): boolean {
    if (run.end === run.start) return false;
    const offset = run.start * blockBytes;
    visit(offset, Math.min(run.end * blockBytes, this.shared.sizeBytes) - offset);
    return true;
  }
}

const always = () => true;

/** The number of the lowest bit that is set; 32 for none. */
function lowestBit(bits: number): number {
  return bits === 0 ? blocksPerWord : 31 - Math.clz32(bits & -bits);
}

function countBits(bits: number): number {
  let count = 0;
  for (let left = bits; left !== 0; left &= left - 1) count++;
  return count;
}
