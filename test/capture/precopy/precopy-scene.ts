import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { CapturedDisks, CaptureFacts, CaptureProgress } from '../../../src/capture/capture.js';
import { openDisk } from '../../../src/image/open-disk.js';
import type { CaptureRequest } from '../../../src/pause/capture-process.js';
import { readProcessStat } from '../../../src/process-identity.js';
import { makeImage, type Piece } from '../../image/make-image.js';
import { tryTool } from '../../support/run-tool.js';
import { withTempDir } from '../../support/temp-dir.js';
import { waitFor } from '../../support/wait-for.js';
import { type Armed, arm, idle, type NamedDisk } from '../armed.js';
import { captureChildrenOf, traceInstancesOf } from '../traced.js';
import { type DiskWriterProcess, startDiskWriter, type WriterKind } from '../tracing/disk-writer.js';

export type Tracker = 'traced' | 'compared';

/** `pieces`: what of the disk is no hole at first; `store`: where the copy goes, when not beside the disk. */
type Options = { kind?: WriterKind; sizeBytes?: number; pieces?: Piece[]; store?: string | undefined };

const mib = 1024 ** 2;
export { idle } from '../armed.js';

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
  readonly armed: Armed[] = [];
  /** How much the bulk copies have said that there is. */
  readonly toldTotals = new Set<number>();

  constructor(
    readonly tracker: Tracker,
    readonly dir: string,
    readonly disk: NamedDisk,
    readonly writer: DiskWriterProcess,
  ) {}

  /** Disposed of at the end. */
  async arm(changes: Partial<CaptureRequest> = {}): Promise<Armed> {
    const tracing = this.tracker === 'compared' ? null : this.tracing(false);
    const capture = await arm({ disks: [this.disk], method: 'precopy', tracing, ...changes });
    this.armed.push(capture);
    return capture;
  }

  tracing(mayDoWithout: boolean): NonNullable<CaptureRequest['tracing']> {
    const { pid, tid } = this.writer;
    return { writers: [{ pid, tid }], guestPids: [pid], mayDoWithout };
  }

  /** Begins to arm, so slowly that something can happen to it, and resolves when so much of the bulk copy is done. */
  async inBulk(changes: Partial<CaptureRequest> = {}, untilBytes = 1) {
    let isUnderWay = false;
    const onProgress = ({ doneBytes, totalBytes }: CaptureProgress) => {
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
  async capture(armed: Armed): Promise<CapturedDisks> {
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

export function factsOf(capture: Armed): CaptureFacts {
  return capture.facts() as CaptureFacts;
}
