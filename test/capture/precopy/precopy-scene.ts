import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { ArmedCapture, CaptureDisk, CapturedDisk } from '../../../src/capture/capture.js';
import { armPrecopy } from '../../../src/capture/precopy/arm-precopy.js';
import type {
  PrecopyFacts,
  PrecopyOrder,
  PrecopyProgress,
  Tracking,
} from '../../../src/capture/precopy/precopy-order.js';
import { openDisk } from '../../../src/image/open-disk.js';
import { readProcessStat } from '../../../src/process-identity.js';
import { makeImage, type Piece } from '../../image/make-image.js';
import { tryTool } from '../../support/run-tool.js';
import { withTempDir } from '../../support/temp-dir.js';
import { waitFor } from '../../support/wait-for.js';
import { captureChildrenOf, traceInstancesOf } from '../traced.js';
import { type DiskWriterProcess, startDiskWriter, type WriterKind } from '../tracing/disk-writer.js';

export type Tracker = 'traced' | 'compared';

/** `pieces`: what of the disk is no hole at first; `store`: where the copy goes, when not beside the disk. */
type Options = { kind?: WriterKind; sizeBytes?: number; pieces?: Piece[]; store?: string | undefined };

const mib = 1024 ** 2;
export const idle = new AbortController().signal;

/** Runs `use` with a scene of which nothing is left afterwards: no process, no trace instance, no file. */
export function withPrecopyScene(
  tracker: Tracker,
  { kind = 'process', sizeBytes = 64 * mib, pieces = [{ offset: 0, length: 8 * mib }], store }: Options,
  use: (scene: PrecopyScene) => Promise<void>,
): Promise<void> {
  return withTempDir(async (dir) => {
    const sourcePath = join(dir, 'root.img');
    await makeImage(sourcePath, sizeBytes, pieces);
    const targetPath = join(store ?? join(dir, 'store'), 'ubd0.img');
    await mkdir(join(dir, 'store'));
    const { handle } = await openDisk('debian', 'ubd0', sourcePath);
    const disk = { device: 'ubd0', sourceFd: handle.fd, sourcePath, sizeBytes, targetPath };
    const writer = await startDiskWriter(kind, sourcePath);
    const scene = new PrecopyScene(tracker, dir, disk, writer);
    try {
      await use(scene);
    } finally {
      for (const capture of scene.armed) await capture.dispose();
      await writer.end();
      await handle.close();
    }
    expect(captureChildrenOf(process.pid)).toEqual([]);
    expect(traceInstancesOf(process.pid)).toEqual([]);
  });
}

/** A disk, the process that writes it, and a precopy of it. */
export class PrecopyScene {
  readonly armed: ArmedCapture[] = [];
  /** How much the bulk copies have said that there is. */
  readonly toldTotals = new Set<number>();

  constructor(
    readonly tracker: Tracker,
    readonly dir: string,
    readonly disk: CaptureDisk,
    readonly writer: DiskWriterProcess,
  ) {}

  /** Disposed of at the end. */
  async arm(changes: Partial<PrecopyOrder> = {}): Promise<ArmedCapture> {
    const tracking = this.tracker === 'compared' ? ({ by: 'comparing' } as const) : this.tracing(false);
    const order = { guest: 'debian', disks: [this.disk], tracking, bytesPerSecond: null };
    const limits = { pauseTargetMs: 5, budgetMs: 60_000, signal: idle };
    const capture = await armPrecopy({ ...order, ...limits, ...changes });
    this.armed.push(capture);
    return capture;
  }

  tracing(mayCompare: boolean): Tracking & { by: 'tracing' } {
    const { pid, tid } = this.writer;
    return { by: 'tracing', writers: [{ pid, tid }], guestPids: [pid], mayCompare };
  }

  /** Begins to arm, so slowly that something can happen to it, and resolves when so much of the bulk copy is done. */
  async inBulk(changes: Partial<PrecopyOrder> = {}, untilBytes = 1) {
    let isUnderWay = false;
    const onProgress = ({ doneBytes, totalBytes }: PrecopyProgress) => {
      isUnderWay ||= doneBytes >= untilBytes;
      this.toldTotals.add(totalBytes);
    };
    const arming = this.arm({ bytesPerSecond: 1.5 * mib, ...changes, onProgress });
    arming.catch(() => {});
    await waitFor('the bulk copy to begin', () => isUnderWay, { everyMs: 5 });
    return { arming };
  }

  /** What the writer has written by system calls, in bytes. */
  written(): number {
    const { pid, tid } = this.writer;
    return Number(/^wchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/task/${tid}/io`, 'utf8'))?.[1]);
  }

  /** The writer does nothing any more, and has no call under way. */
  async pause(): Promise<void> {
    const { pid, tid } = this.writer;
    process.kill(pid, 'SIGSTOP');
    await waitFor('the writer to stand still', () => readProcessStat(tid)?.state === 'T', { everyMs: 1 });
  }

  resume(): void {
    process.kill(this.writer.pid, 'SIGCONT');
  }

  /** Catches up, pauses the writer, captures, and compares the copy with the disk before the writer goes on. */
  async capture(armed: ArmedCapture): Promise<Map<string, CapturedDisk>> {
    await armed.catchUp(idle);
    await this.pause();
    const captured = await armed.run(idle);
    await this.expectSame();
    this.resume();
    return captured;
  }

  async expectSame(): Promise<void> {
    expect((await tryTool('cmp', [this.disk.sourcePath, this.disk.targetPath])).output).toBe('');
  }
}

export function factsOf(capture: ArmedCapture): PrecopyFacts {
  return capture.facts() as unknown as PrecopyFacts;
}
