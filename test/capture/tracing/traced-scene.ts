import { type FileHandle, open, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { WriteTracker } from '../../../src/capture/precopy/write-tracker.js';
import { createTraceInstance, type TraceInstance } from '../../../src/capture/tracing/trace-instance.js';
import { startTracedTracker } from '../../../src/capture/tracing/traced-tracker.js';
import { withTempDir } from '../../support/temp-dir.js';
import { type DiskWriterProcess, startDiskWriter, type WriterKind } from './disk-writer.js';

export const blockBytes = 4096;

/** An image, somebody who writes it, and an instance to trace that in. */
export interface TracedScene {
  dir: string;
  image: string;
  sizeBytes: number;
  source: FileHandle;
  writer: DiskWriterProcess;
  instance: TraceInstance;
  /** Blocks that were marked and not taken yet. */
  marked: Set<number>;
  startTracker(changes?: Partial<Parameters<typeof startTracedTracker>[0]>): Promise<WriteTracker>;
  /** Another process with the image open for writing. */
  startOther(): Promise<DiskWriterProcess>;
}

export interface SceneOptions {
  kind?: WriterKind;
  sizeBytes?: number;
}

/** Runs `use` with a scene of which nothing is left afterwards. */
export function withTracedScene(
  { kind = 'process', sizeBytes = 1 << 20 }: SceneOptions,
  use: (scene: TracedScene) => Promise<void>,
): Promise<void> {
  return withTempDir(async (dir) => {
    const image = join(dir, 'disk.img');
    await writeFile(image, Buffer.alloc(Math.min(sizeBytes, 1 << 20), 7));
    await truncate(image, sizeBytes);
    const undo: (() => Promise<unknown>)[] = [];
    try {
      const source = await open(image, 'r');
      undo.push(() => source.close());
      const writer = await startDiskWriter(kind, image);
      undo.push(() => writer.end());
      const instance = await createTraceInstance();
      undo.push(() => instance.remove());
      await use(makeScene({ dir, image, sizeBytes, source, writer, instance, marked: new Set() }, undo));
    } finally {
      for (const step of undo.reverse()) await step();
    }
  });
}

function makeScene(
  parts: Omit<TracedScene, 'startTracker' | 'startOther'>,
  undo: (() => Promise<unknown>)[],
): TracedScene {
  const { image, sizeBytes, source, writer, instance, marked } = parts;
  const markWritten = (offset: number, length: number) => {
    const end = Math.min(offset + length, sizeBytes);
    for (let at = Math.floor(offset / blockBytes); at * blockBytes < end; at += 1) marked.add(at);
  };
  return {
    ...parts,
    startTracker: async (changes = {}) => {
      const tracker = await startTracedTracker({
        instancePath: instance.path,
        disks: [{ device: 'ubd0', fd: source.fd, sizeBytes, markWritten }],
        writers: [{ pid: writer.pid, tid: writer.tid }],
        guestPids: [writer.pid],
        ...changes,
      });
      undo.push(async () => tracker.close());
      return tracker;
    },
    startOther: async () => {
      const other = await startDiskWriter('process', image);
      undo.push(() => other.end());
      return other;
    },
  };
}
