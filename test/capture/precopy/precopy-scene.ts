import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { ArmedCapture, CapturedDisk } from '../../../src/capture/capture.js';
import { armPrecopy } from '../../../src/capture/precopy/arm-precopy.js';
import type { PrecopyFacts, PrecopyOrder, Tracking } from '../../../src/capture/precopy/precopy-order.js';
import { type OpenDisk, openDisk } from '../../../src/image/open-disk.js';
import { makeImage, type Piece } from '../../image/make-image.js';
import { tryTool } from '../../support/run-tool.js';
import { withTempDir } from '../../support/temp-dir.js';
import { waitFor } from '../../support/wait-for.js';
import { captureChildrenOf } from '../traced.js';
import { type DiskWriterProcess, startDiskWriter, type WriterKind } from '../tracing/disk-writer.js';
import { instancesOfOurs, stateOf } from './look-around.js';

export type Tracker = 'traced' | 'compared';

/** A disk, the process that writes it, and what a precopy needs to know of both. */
export interface PrecopyScene {
  dir: string;
  disk: OpenDisk;
  /** What of it is no hole at first. */
  dataBytes: number;
  targetPath: string;
  writer: DiskWriterProcess;
  order(changes?: Partial<PrecopyOrder>): PrecopyOrder;
  /** Disposed of at the end. */
  arm(changes?: Partial<PrecopyOrder>): Promise<ArmedCapture>;
  /** The writer does nothing any more, and has no call under way. */
  pause(): Promise<void>;
  resume(): void;
  /** Catches up, pauses the writer, captures, and compares the copy with the disk before the writer goes on. */
  capture(armed: ArmedCapture): Promise<Map<string, CapturedDisk>>;
}

export interface SceneOptions {
  kind?: WriterKind;
  sizeBytes?: number;
  pieces?: Piece[];
  /** Where the copy goes, when not beside the disk. */
  store?: string;
}

const mib = 1024 ** 2;
const idle = new AbortController().signal;

/** Runs `use` with a scene of which nothing is left afterwards: no process, no trace instance, no file. */
export function withPrecopyScene(
  tracker: Tracker,
  options: SceneOptions,
  use: (scene: PrecopyScene) => Promise<void>,
): Promise<void> {
  const { kind = 'process', sizeBytes = 64 * mib, pieces = [{ offset: 0, length: 8 * mib }] } = options;
  const dataBytes = pieces.reduce((sum, { length }) => sum + length, 0);
  return withTempDir(async (dir) => {
    const path = join(dir, 'root.img');
    await makeImage(path, sizeBytes, pieces);
    const store = options.store ?? join(dir, 'store');
    await mkdir(store, { recursive: true });
    const disk = await openDisk('debian', 'ubd0', path);
    const writer = await startDiskWriter(kind, path);
    const armed: ArmedCapture[] = [];
    try {
      await use(
        makeScene(tracker, { dir, disk, dataBytes, writer, targetPath: join(store, 'ubd0.img') }, armed),
      );
    } finally {
      for (const capture of armed) await capture.dispose();
      await writer.end();
      await disk.handle.close();
    }
    expect(captureChildrenOf(process.pid)).toEqual([]);
    expect(instancesOfOurs()).toEqual([]);
  });
}

function makeScene(
  tracker: Tracker,
  parts: Pick<PrecopyScene, 'dir' | 'disk' | 'dataBytes' | 'writer' | 'targetPath'>,
  armed: ArmedCapture[],
): PrecopyScene {
  const { disk, writer, targetPath } = parts;
  const scene: PrecopyScene = {
    ...parts,
    order: (changes = {}) => ({
      guest: 'debian',
      disks: [
        {
          device: disk.device,
          sourceFd: disk.handle.fd,
          sourcePath: disk.path,
          sizeBytes: disk.stamp.sizeBytes,
          targetPath,
        },
      ],
      tracking: trackingBy(tracker, writer),
      bytesPerSecond: null,
      pauseTargetMs: 5,
      budgetMs: 60_000,
      signal: idle,
      ...changes,
    }),
    arm: async (changes) => {
      const capture = await armPrecopy(scene.order(changes));
      armed.push(capture);
      return capture;
    },
    pause: async () => {
      process.kill(writer.pid, 'SIGSTOP');
      await waitFor('the writer to stand still', () => stateOf(writer.tid) === 'T', { everyMs: 1 });
    },
    resume: () => process.kill(writer.pid, 'SIGCONT'),
    capture: async (capture) => {
      await capture.catchUp(idle);
      await scene.pause();
      const captured = await capture.run(idle);
      await expectSame(disk.path, targetPath);
      scene.resume();
      return captured;
    },
  };
  return scene;
}

function trackingBy(tracker: Tracker, { pid, tid }: DiskWriterProcess): Tracking {
  if (tracker === 'compared') return { by: 'comparing' };
  return { by: 'tracing', writers: [{ pid, tid }], guestPids: [pid], mayCompare: false };
}

/** Of a traced scene: whether the disks may be compared when the tracer is in doubt. */
export function mayCompare(
  { writer: { pid, tid } }: PrecopyScene,
  may: boolean,
): { tracking: Tracking & { by: 'tracing' } } {
  return { tracking: { by: 'tracing', writers: [{ pid, tid }], guestPids: [pid], mayCompare: may } };
}

export async function expectSame(sourcePath: string, targetPath: string): Promise<void> {
  expect((await tryTool('cmp', [sourcePath, targetPath])).output).toBe('');
}

export function factsOf(capture: ArmedCapture): PrecopyFacts {
  return capture.facts() as unknown as PrecopyFacts;
}
