import { readSync, writeSync } from 'node:fs';
import { open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { runTool } from '../../support/run-tool.js';
import { blockBytes, type TracedScene, withTracedScene } from './traced-scene.js';
import { whyNoTracing } from './why-no-tracing.js';

const why = await whyNoTracing();
const kinds = ['process', 'thread'] as const;

/** Copies the marked blocks as they come, while they are written over and over; gives the copy's path. */
async function copyWhileWritten(scene: TracedScene, writes: number): Promise<string> {
  const { dir, source, sizeBytes, writer, marked } = scene;
  const target = join(dir, 'copy.img');
  await writeFile(target, '');
  await truncate(target, sizeBytes);
  const copy = await open(target, 'r+');
  try {
    // Other tests keep the processors from us for longer than anything a precopy shares them with.
    const tracker = await scene.startTracker({ bufferKib: 16_384 });
    const buffer = Buffer.alloc(blockBytes);
    const copyMarked = (limit: number) => {
      for (const block of [...marked].slice(0, limit)) {
        marked.delete(block);
        const length = readSync(source.fd, buffer, 0, blockBytes, block * blockBytes);
        writeSync(copy.fd, buffer, 0, length, block * blockBytes);
      }
    };
    for (let at = 0; at * blockBytes < sizeBytes; at += 1) marked.add(at);
    let isOver = false;
    const storm = writer.obey('storm', writes);
    const over = () => {
      isOver = true;
    };
    storm.then(over, over);
    while (!isOver) {
      expect(tracker.follow()).toBeNull();
      copyMarked(500);
      await sleep(2);
    }
    expect((await storm).result).toBe(writes);
    expect(tracker.settle()).toBeNull();
    copyMarked(marked.size);
    expect(tracker.prove()).toBeNull();
    expect(tracker.facts.events).toBeGreaterThan(2 * writes - 1);
    expect(tracker.facts.accountedBytes).toBeGreaterThan(writes * 1000);
  } finally {
    await copy.close();
  }
  return target;
}

describe.skipIf(why !== null)('writes that are traced while the disk is copied', () => {
  test.each(kinds)(
    'a copy of what is marked is the disk, byte by byte, after 60,000 writes at full speed by a %s, and none is doubted',
    (kind) =>
      withTracedScene({ kind, sizeBytes: 8 << 20 }, async (scene) => {
        const copy = await copyWhileWritten(scene, 60_000);
        expect((await readFile(copy)).equals(await readFile(scene.image))).toBe(true);
      }),
  );

  test.each(kinds)('each call that says where it writes is marked where it wrote, by a %s', (kind) =>
    withTracedScene({ kind }, async ({ writer, marked, startTracker }) => {
      const tracker = await startTracker();
      for (const command of ['pwrite', 'pwritev', 'pwritev2', 'punch', 'zero']) {
        const { result } = await writer.obey(command, 5 * blockBytes - 1, blockBytes + 2);
        expect(result).toBeGreaterThanOrEqual(0);
        expect(tracker.follow()).toBeNull();
        expect([command, [...marked].sort()]).toEqual([command, [4, 5, 6]]);
        marked.clear();
      }
      expect(tracker.settle()).toBeNull();
      expect(tracker.prove()).toBeNull();
    }),
  );

  test('a write is marked through whichever descriptor of the disk it came', () =>
    withTracedScene({}, async ({ writer, marked, startTracker }) => {
      const tracker = await startTracker();
      expect(await writer.obey('dup', 30, 9 * blockBytes)).toEqual({ result: 4096, errno: 0 });
      expect(tracker.settle()).toBeNull();
      expect([...marked]).toEqual([9]);
      expect(tracker.prove()).toBeNull();
    }));

  test('a descriptor that was another file is looked up again when the guest opens a disk', () =>
    withTracedScene({}, async ({ writer, marked, startTracker }) => {
      const tracker = await startTracker();
      expect(await writer.obey('aside', 30)).toEqual({ result: 4096, errno: 0 });
      expect(tracker.follow()).toBeNull();
      expect(await writer.obey('again', 30, 9 * blockBytes)).toEqual({ result: 4096, errno: 0 });
      expect(tracker.settle()).toBeNull();
      expect([...marked]).toEqual([9]);
      expect(tracker.prove()).toBeNull();
    }));

  test('tracing can begin while the disk is written, and nothing of that is doubted', () =>
    withTracedScene({}, async ({ writer, startTracker }) => {
      // It rests after each 20 writes, as an I/O helper does that waits for its guest.
      const storm = writer.obey('storm', 30_000, 20);
      const tracker = await startTracker({ bufferKib: 16_384 });
      let isOver = false;
      const over = () => {
        isOver = true;
      };
      storm.then(over, over);
      while (!isOver) {
        expect(tracker.follow()).toBeNull();
        await sleep(2);
      }
      expect(tracker.settle()).toBeNull();
      expect(tracker.prove()).toBeNull();
    }));

  test('a process that the guest has started since it was looked at is nobody to doubt', () =>
    withTracedScene({}, async ({ writer, startTracker }) => {
      expect((await writer.obey('fork')).result).toBeGreaterThan(0);
      const tracker = await startTracker();
      await writer.obey('pwrite', 0, 4096);
      expect((await writer.obey('fork')).result).toBeGreaterThan(0);
      expect(tracker.follow() ?? tracker.settle() ?? tracker.prove()).toBeNull();
    }));

  test('what the follower writes itself does not fill the trace buffer', () =>
    withTracedScene({}, async ({ dir, writer, startTracker }) => {
      const tracker = await startTracker({ bufferKib: 64 });
      await writer.obey('pwrite', 0, 4096);
      expect(tracker.settle()).toBeNull();
      const copy = await open(join(dir, 'own.img'), 'w');
      for (let at = 0; at < 5000; at += 1) writeSync(copy.fd, 'x', at);
      await copy.close();
      expect(tracker.prove()).toBeNull();
    }));

  test('who only reads a disk is nobody to doubt', () =>
    withTracedScene({}, async ({ image, writer, startTracker }) => {
      const tracker = await startTracker();
      await writer.obey('pwrite', 0, 4096);
      await runTool('sha256sum', [image]);
      await runTool('cat', [image]);
      expect(tracker.follow()).toBeNull();
      expect(tracker.settle()).toBeNull();
      expect(tracker.prove()).toBeNull();
    }));
});
