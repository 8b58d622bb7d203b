import { writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runTool } from '../../support/run-tool.js';
import { blockBytes, endOf, withTracedScene } from './traced-scene.js';
import { whyNoTracing } from './why-no-tracing.js';

const why = await whyNoTracing();

describe.skipIf(why !== null)('writes that are traced while the disk is copied', () => {
  test.each(['process', 'thread'] as const)(
    'each call that says where it writes is marked where it wrote, by a %s',
    (kind) =>
      withTracedScene({ kind }, async ({ writer, marked, startTracker }) => {
        const tracker = await startTracker();
        for (const command of ['pwrite', 'pwritev', 'pwritev2', 'punch', 'zero']) {
          const { result } = await writer.obey(command, 5 * blockBytes - 1, blockBytes + 2);
          expect(result).toBeGreaterThanOrEqual(0);
          expect(tracker.follow()).toBeNull();
          expect([command, [...marked].sort()]).toEqual([command, [4, 5, 6]]);
          marked.clear();
        }
        expect(endOf(tracker)).toBeNull();
      }),
  );

  test('a write is marked through whichever descriptor of the disk it came, also one that was another file before', () =>
    withTracedScene({}, async ({ writer, marked, startTracker }) => {
      const tracker = await startTracker();
      expect(await writer.obey('dup', 29, 8 * blockBytes)).toEqual({ result: 4096, errno: 0 });
      expect(await writer.obey('aside', 30)).toEqual({ result: 4096, errno: 0 });
      expect(tracker.follow()).toBeNull();
      expect([...marked]).toEqual([8]);
      expect(await writer.obey('again', 30, 9 * blockBytes)).toEqual({ result: 4096, errno: 0 });
      expect(tracker.settle()).toBeNull();
      expect([...marked]).toEqual([8, 9]);
      expect(tracker.prove() ?? tracker.confirm()).toBeNull();
    }));

  test('a process that the guest has started since it was looked at is nobody to doubt', () =>
    withTracedScene({}, async ({ writer, startTracker }) => {
      expect((await writer.obey('fork')).result).toBeGreaterThan(0);
      const tracker = await startTracker();
      await writer.obey('pwrite', 0, 4096);
      expect((await writer.obey('fork')).result).toBeGreaterThan(0);
      expect(endOf(tracker)).toBeNull();
    }));

  test('who only reads a disk is nobody to doubt, and what the follower writes itself does not fill the trace buffer', () =>
    withTracedScene({}, async ({ dir, image, writer, startTracker }) => {
      const tracker = await startTracker({ bufferKib: 64 });
      await writer.obey('pwrite', 0, 4096);
      await runTool('sha256sum', [image]);
      await runTool('cat', [image]);
      expect(tracker.follow()).toBeNull();
      expect(tracker.settle()).toBeNull();
      const copy = await open(join(dir, 'own.img'), 'w');
      for (let at = 0; at < 5000; at += 1) writeSync(copy.fd, 'x', at);
      await copy.close();
      expect(tracker.prove() ?? tracker.confirm()).toBeNull();
    }));
});
