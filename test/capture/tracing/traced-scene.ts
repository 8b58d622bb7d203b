import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { WriteTracker } from '../../../src/capture/precopy/write-tracker.js';
import { createTraceInstance } from '../../../src/capture/tracing/trace-instance.js';
import { startTracedTracker } from '../../../src/capture/tracing/traced-tracker.js';
import { withTempDir } from '../../support/temp-dir.js';
import { startDiskWriter, type WriterKind } from './disk-writer.js';

export const blockBytes = 4096;

export type TracedScene = Awaited<ReturnType<typeof buildScene>>;

/** Runs `use` with a scene of which nothing is left afterwards. */
export function withTracedScene(
  { kind = 'process' }: { kind?: WriterKind },
  use: (scene: TracedScene) => Promise<void>,
): Promise<void> {
  return withTempDir(async (dir) => {
    const undo: (() => unknown)[] = [];
    try {
      await use(await buildScene(dir, kind, undo));
    } finally {
      for (const step of undo.reverse()) await step();
    }
  });
}

/** An image, somebody who writes it, and an instance to trace that in. */
async function buildScene(dir: string, kind: WriterKind, undo: (() => unknown)[]) {
  const image = join(dir, 'disk.img');
  const sizeBytes = 1 << 20;
  await writeFile(image, Buffer.alloc(sizeBytes, 7));
  const source = await open(image, 'r');
  undo.push(() => source.close());
  const startWriter = async (as: WriterKind) => {
    const writer = await startDiskWriter(as, image);
    undo.push(() => writer.end());
    return writer;
  };
  const writer = await startWriter(kind);
  const { pid, tid } = writer;
  const instance = await createTraceInstance();
  undo.push(() => instance.remove());
  const marked = new Set<number>();
  const markWritten = (offset: number, length: number) => {
    const end = Math.min(offset + length, sizeBytes);
    for (let at = Math.floor(offset / blockBytes); at * blockBytes < end; at += 1) marked.add(at);
  };
  const startTracker = async (changes: Partial<Parameters<typeof startTracedTracker>[0]> = {}) => {
    const tracker = await startTracedTracker({
      instancePath: instance.path,
      disks: [{ device: 'ubd0', fd: source.fd, sizeBytes, markWritten }],
      ...{ writers: [{ pid, tid }], guestPids: [pid], ...changes },
    });
    undo.push(() => tracker.close());
    return tracker;
  };
  return {
    ...{ dir, image, writer, instance, startTracker },
    /** Blocks. */
    marked,
    /** Another process with the image open for writing. */
    startOther: () => startWriter('process'),
  };
}

/** What the tracker says in the end, as a copy would have asked it. */
export function endOf(tracker: WriteTracker): string | null {
  return tracker.follow() ?? tracker.settle() ?? tracker.prove() ?? tracker.confirm();
}
