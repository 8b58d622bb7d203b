import { Worker } from 'node:worker_threads';
import { processEntry } from '../process-entry.js';
import type { CowLayout } from './cow-file.js';
import type { PaceState } from './pace.js';

/** What an image worker can be asked for. Descriptors belong to the whole process, so their numbers are enough. */
export type ImageWork =
  | { kind: 'copy'; sourceFd: number; targetFd: number; calmly?: PaceState }
  | { kind: 'copyAndDigest'; sourceFd: number; targetFd: number; digest: DigestKind }
  | { kind: 'mergeCow'; cowFd: number; targetFd: number; layout: CowLayout }
  /** `firstBytes`: only so many of them, all of which the file has. */
  | { kind: 'digest'; fd: number; digest: DigestKind; firstBytes?: number; calmly?: PaceState }
  | { kind: 'countData'; fd: number }
  | { kind: 'copyRate'; sourceFd: number; targetFd: number; maxBytes: number; maxMs: number };

/** Over the whole content, zeros included; over the data alone (`DataDigest`), which a large hole costs nothing; or both. */
export type DigestKind = 'whole' | 'data' | 'both';

/** Each in hex where it was asked for. `sha256` is what `sha256sum` says. */
export interface Digests {
  sha256: string | null;
  dataSha256: string | null;
}

export interface ImageWorkResult extends Digests {
  sizeBytes: number;
  dataBytes: number;
  elapsedMs: number;
}

export interface ImageProgress {
  doneBytes: number;
  sizeBytes: number;
}

export interface ImageWorkOptions {
  signal?: AbortSignal;
  /**
   * Only of a digest and a plain copy: reads at this pace. A file is read when nobody else reads, from the disk even where the kernel has it in
   * memory, and leaves nothing there.
   */
  calmly?: PaceState;
  /** Called now and then, from the main thread. */
  onProgress?: (progress: ImageProgress) => void;
}

/** What the worker says, as plain data: an error's class and cause don't survive the way between threads. */
export type WorkerWord =
  /** Its modules are loaded: from here on it may be ended by force. */
  | { is: 'ready' }
  | { is: 'progress'; progress: ImageProgress }
  /** Of a thread that is fed: it is done with one batch. */
  | { is: 'taken' }
  | { is: 'done'; result: ImageWorkResult }
  | { is: 'failed'; message: string; code: string | undefined; syscall: string | undefined };

/**
 * Does long work on images in a thread of its own: the main thread may have a guest paused, and the pool behind `fs` may
 * be full of fsyncs. The promise MUST NOT settle before the thread has ended: the caller closes the descriptors then, and a
 * thread that still wrote to a number would write into whatever file has it next.
 * @throws Node's errors of the I/O (`syscall` says which side), or the signal's reason.
 */
export async function runImageWork(
  work: ImageWork,
  options: ImageWorkOptions = {},
): Promise<ImageWorkResult> {
  options.signal?.throwIfAborted();
  return await runWorker('image-worker', work, options);
}

/** Runs one thread to its end; `feed` may talk to it meanwhile. The same promise, and the same errors. */
export async function runWorker(
  script: string,
  workerData: unknown,
  options: ImageWorkOptions,
  feed: (worker: Worker) => Promise<void> = async () => {},
): Promise<ImageWorkResult> {
  const worker = new Worker(processEntry(script), { workerData, execArgv: [] });
  const terminate = terminator(worker);
  const abort = () => void terminate();
  options.signal?.addEventListener('abort', abort, { once: true });
  const end = lastWord(worker, options);
  try {
    await feed(worker).catch(async (error: unknown) => {
      await terminate();
      throw error;
    });
    const word = await end;
    if (word?.is === 'done') return word.result;
    options.signal?.throwIfAborted();
    if (word?.is === 'failed') throw Object.assign(new Error(word.message), withoutUndefined(word));
    throw new Error('the image worker ended without a word');
  } finally {
    options.signal?.removeEventListener('abort', abort);
  }
}

/**
 * Ends the thread by force, and waits for that. It MUST NOT happen while the thread loads its modules: koffi, stopped in the
 * middle of that, aborts the whole process (seen, with koffi 3.3).
 */
function terminator(worker: Worker): () => Promise<void> {
  const loaded = new Promise<void>((resolve) => {
    worker.on('message', (word: WorkerWord) => word.is === 'ready' && resolve());
    worker.once('exit', () => resolve());
  });
  return async () => {
    await loaded;
    await worker.terminate();
  };
}

/** The worker's result or failure, once its thread has ended; null when it was cut short. */
function lastWord(worker: Worker, options: ImageWorkOptions): Promise<WorkerWord | null> {
  return new Promise((resolve) => {
    let last: WorkerWord | null = null;
    worker.on('message', (word: WorkerWord) => {
      if (word.is === 'progress') options.onProgress?.(word.progress);
      else if (word.is === 'done' || word.is === 'failed') last = word;
    });
    worker.on('error', (error) => {
      last ??= { is: 'failed', message: error.message, code: undefined, syscall: undefined };
    });
    worker.on('exit', () => resolve(last));
  });
}

function withoutUndefined(word: { code: string | undefined; syscall: string | undefined }): {
  code?: string;
  syscall?: string;
} {
  return {
    ...(word.code === undefined ? {} : { code: word.code }),
    ...(word.syscall === undefined ? {} : { syscall: word.syscall }),
  };
}
