import { closeSync, openSync, readFileSync } from 'node:fs';
import { cpuNumbers } from './cpu-list.js';
import {
  type EventFormat,
  fieldOffset,
  type PageFormat,
  parseEventFormat,
  parsePageFormat,
} from './event-format.js';
import { markCall, markMode, readAvailable, setMark } from './kernel-calls.js';
import { readInt64, visitPage } from './ring-buffer-page.js';
import type { TraceEvent } from './thread-account.js';
import { type CallKind, trackedCalls } from './tracked-calls.js';

const O_RDONLY_NONBLOCK = 0o4000;
/** Lets a flood be cut into pieces; what is left is for the next round. */
const maxPagesAtOnce = 4096;

interface Decoder {
  call: CallKind;
  isExit: boolean;
  /** Of the arguments in the order of `call.args`, or of the result alone. */
  offsets: number[];
}

export type TakeEvent = (threadId: number, event: TraceEvent) => void;
export type Round = { stamp: number } | { problem: string };

/** Reads what an instance has traced, from the buffers of all CPUs. */
export class TraceReader {
  readonly #pipes: number[];
  readonly #page: Buffer;
  readonly #format: PageFormat;
  readonly #decoders: Decoder[];
  readonly #pidOffset: number;
  readonly #ownId: number;
  #beats = 0;
  #events = 0;

  /** @param ownId the calling thread as the tracer names it. @throws Error when the instance can't be read */
  constructor(instancePath: string, ownId: number) {
    this.#ownId = ownId;
    this.#format = parsePageFormat(readFileSync(`${instancePath}/events/header_page`, 'latin1'));
    this.#page = Buffer.alloc(this.#format.sizeBytes);
    const { decoders, pidOffset } = readDecoders(instancePath);
    this.#decoders = decoders;
    this.#pidOffset = pidOffset;
    this.#pipes = cpuNumbers().map((cpu) =>
      openSync(`${instancePath}/per_cpu/cpu${cpu}/trace_pipe_raw`, O_RDONLY_NONBLOCK),
    );
  }

  get events(): number {
    return this.#events;
  }

  /**
   * Reads all that there is. The stamp it returns is that of a mark which is set before the first buffer is read: a thread's
   * events up to there are complete, whichever CPU it ran on. A mark that does not come out again means that nothing is
   * traced any more.
   */
  round(take: TakeEvent): Round {
    this.#beats += 1;
    const beat = this.#beats;
    setMark(beat, this.#ownId);
    let markStamp = -1;
    let problem: string | null = null;
    const visit = (page: Buffer, at: number, stamp: number): void => {
      const threadId = page.readInt32LE(at + this.#pidOffset);
      const event = this.#decode(page, at, stamp);
      if (event === null) problem ??= 'an event of an unknown kind came out of the trace buffer';
      else if (threadId !== this.#ownId) {
        this.#events += 1;
        take(threadId, event);
      } else if (event.type === 'enter' && isBeat(event, beat)) markStamp = stamp;
    };
    for (const pipe of this.#pipes) problem = this.#drain(pipe, visit) ?? problem;
    if (problem !== null) return { problem };
    return markStamp < 0
      ? { problem: 'the tracing was switched off, or lost what we wrote into it ourselves' }
      : { stamp: markStamp };
  }

  #drain(pipe: number, visit: (page: Buffer, at: number, stamp: number) => void): string | null {
    let problem: string | null = null;
    for (let pages = 0; pages < maxPagesAtOnce; pages += 1) {
      if (readAvailable(pipe, this.#page) === 0) return problem;
      problem = visitPage(this.#page, this.#format, visit) ?? problem;
    }
    return problem ?? 'the trace buffer fills faster than it can be read';
  }

  #decode(page: Buffer, at: number, stamp: number): TraceEvent | null {
    const decoder = this.#decoders[page.readUInt16LE(at)];
    if (decoder === undefined) return null;
    const { call, isExit, offsets } = decoder;
    if (isExit) return { type: 'exit', stamp, call, result: readInt64(page, at + (offsets[0] ?? 0)) };
    return { type: 'enter', stamp, call, args: offsets.map((offset) => readInt64(page, at + offset)) };
  }

  close(): void {
    for (const pipe of this.#pipes.splice(0)) closeSync(pipe);
  }
}

function isBeat(event: TraceEvent & { type: 'enter' }, beat: number): boolean {
  return event.call.name === markCall && event.args[1] === markMode && event.args[2] === beat;
}

function readDecoders(instancePath: string): { decoders: Decoder[]; pidOffset: number } {
  const decoders: Decoder[] = [];
  let pidOffset = -1;
  for (const call of trackedCalls) {
    for (const isExit of [false, true]) {
      const format = readFormat(
        `${instancePath}/events/syscalls/sys_${isExit ? 'exit' : 'enter'}_${call.name}`,
      );
      if (format === null) continue;
      pidOffset = fieldOffset(format, 'common_pid');
      const fields = isExit ? ['ret'] : call.args;
      decoders[format.id] = { call, isExit, offsets: fields.map((name) => fieldOffset(format, name)) };
    }
  }
  return { decoders, pidOffset };
}

function readFormat(eventDir: string): EventFormat | null {
  try {
    return parseEventFormat(readFileSync(`${eventDir}/format`, 'latin1'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
