import { hashing, reporter, send } from './hash-pass.js';
import type { ImageWorkResult, StreamWork } from './image-work.js';
import type { Extent } from './sparse-map.js';
import { makeHole, writeFully } from './sparse-pass.js';

/** An image that comes as a stream, in the thread that takes it. */
export class StreamPass {
  readonly #work: StreamWork;
  readonly #pass;
  #position = 0;
  #dataBytes = 0;

  /** @throws Node's errors of the target */
  constructor(work: StreamWork) {
    this.#work = work;
    this.#pass = hashing(work.digest, reporter(work.sizeBytes));
    if (work.targetFd !== null) makeHole(work.targetFd, work.sizeBytes);
  }

  /** @throws EBADMSG for a stream that is in disorder or too long, and Node's errors of the target */
  take({ data, pieces }: { data: Uint8Array<ArrayBuffer>; pieces: Extent[] }): void {
    const bytes = Buffer.from(data.buffer);
    let at = 0;
    for (const { offset, length } of pieces) {
      this.#takePiece(offset, bytes.subarray(at, at + length));
      at += length;
    }
    send({ is: 'taken' });
  }

  finish(): Omit<ImageWorkResult, 'elapsedMs'> {
    const { sizeBytes } = this.#work;
    if (sizeBytes > this.#position) this.#pass.hole(sizeBytes - this.#position);
    return { sizeBytes, dataBytes: this.#dataBytes, ...this.#pass.digests(sizeBytes) };
  }

  #takePiece(offset: number, chunk: Buffer): void {
    const { sizeBytes, targetFd } = this.#work;
    if (offset < this.#position) throw disorder(`a piece at ${offset} comes after ${this.#position}`);
    if (offset + chunk.length > sizeBytes) throw disorder(`it goes on beyond its ${sizeBytes} bytes`);
    if (offset > this.#position) this.#pass.hole(offset - this.#position);
    if (targetFd !== null) writeFully(targetFd, chunk, offset);
    this.#pass.data(chunk, offset);
    this.#position = offset + chunk.length;
    this.#dataBytes += chunk.length;
  }
}

function disorder(problem: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`EBADMSG: ${problem}, read`), { code: 'EBADMSG', syscall: 'read' });
}
