import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { WriteTracker } from '../../../src/capture/precopy/write-tracker.js';
import { cpuNumbers } from '../../../src/capture/tracing/cpu-list.js';
import { canLoopMount } from '../../support/loop-filesystem.js';
import { runTool } from '../../support/run-tool.js';
import { waitFor } from '../../support/wait-for.js';
import type { DiskWriterProcess } from './disk-writer.js';
import { type TracedScene, withTracedScene } from './traced-scene.js';
import { whyNoTracing } from './why-no-tracing.js';

const why = await whyNoTracing();

/** What the tracker says in the end, as a copy would have asked it. */
function endOf(tracker: WriteTracker): string | null {
  return tracker.follow() ?? tracker.settle() ?? tracker.prove();
}

/** Calls that a kernel may refuse, as it can be built or told to: why those of this machine's are left out. */
const refused = new Map<string, string>();
for (const command of why === null ? ['call32', 'uring'] : []) {
  await withTracedScene({}, async ({ writer }) => {
    // EPERM, ENOSYS
    const { result, errno } = await writer.obey(command, 4096, 1);
    if (result < 0 && [1, 38].includes(errno))
      refused.set(command, ` (skipped: this machine refuses ${command})`);
  });
}

/** Calls that change a disk in a way that can't be placed, and the arguments they are given. */
const unplaceable: [string, number, number, RegExp][] = [
  ['write', 4096, 4096, /unknown place \(write\)/],
  ['writev', 4096, 4096, /unknown place \(writev\)/],
  ['pwritev2', -1, 4096, /unknown place \(pwritev2\)/],
  ['append', 0, 4096, /unknown place \(pwrite64\)/],
  ['collapse', 4096, 4096, /fallocate of mode 8/],
  ['ftruncate', 4096, 0, /ftruncate/],
  ['truncate', 4096, 0, /truncate/],
  ['mmap', 0, 0, /mapped/],
  ['sendfile', 0, 0, /sendfile/],
  ['splice', 0, 0, /splice/],
  ['copy', 0, 8192, /copy_file_range/],
  ['aio', 4096, 0, /io_submit/],
  ['uring', 4096, 0, /io_uring|iou-wrk/],
  ['call32', 0, 0, /4096 bytes more than were traced/],
  ['call32', 0, 1, /wrote 1 bytes more than were traced/],
  ['stranger', 0, 0, /wrote to a disk as well/],
  ['reopen', 0, 0, /had a disk open for writing, and closed it/],
];

/** An image is watched from here on, and these are its guest's. */
type Doubted = (scene: TracedScene, tracker: WriteTracker) => Promise<string | null>;

describe.skipIf(why !== null)('doubts about writes by the guest itself', () => {
  for (const kind of ['process', 'thread'] as const) {
    for (const [command, a, b, doubt] of unplaceable) {
      const left = refused.get(command);
      const title = `writing by "${command}" (${a}, ${b}) is noticed, from a ${kind}${left ?? ''}`;
      test.skipIf(left !== undefined)(title, () =>
        withTracedScene({ kind }, async ({ writer, startTracker }) => {
          const tracker = await startTracker();
          const { result } = await writer.obey(command, a, b);
          expect(result).toBeGreaterThanOrEqual(0);
          expect(endOf(tracker)).toMatch(doubt);
          // It stays, whatever comes after.
          expect(tracker.prove()).not.toBeNull();
        }),
      );
    }
  }

  test.each<[string, Doubted, RegExp]>([
    [
      'a write between the last copy and the proof',
      async ({ writer }, tracker) => {
        await writer.obey('pwrite', 0, 4096);
        expect(tracker.settle()).toBeNull();
        await writer.obey('pwrite', 0, 4096);
        return tracker.prove();
      },
      /should have stood still/,
    ],
    [
      'a writer that dies',
      async ({ writer }, tracker) => {
        await writer.end();
        return endOf(tracker);
      },
      /is gone|had a disk open/,
    ],
  ])('%s is noticed', (_, doubted, doubt) =>
    withTracedScene({}, async (scene) => {
      expect(await doubted(scene, await scene.startTracker())).toMatch(doubt);
    }),
  );

  const left = refused.get('call32');
  test.skipIf(left !== undefined)(
    `a call that the tracer does not see is noticed while the guest runs, before any stop${left ?? ''}`,
    () =>
      withTracedScene({}, async ({ writer, startTracker }) => {
        const tracker = await startTracker();
        expect((await writer.obey('call32')).result).toBeGreaterThanOrEqual(0);
        expect(await waitFor('a doubt', () => tracker.follow())).toMatch(/more than were traced/);
      }),
  );

  // Its descriptors are looked up once, and a write through one that was another file then is taken for a write to that.
  test.each([
    ['the disk takes the place of another file', 'dup', /descriptor 50 of thread \d+ is another file/],
    ['another file takes the place of the disk', 'cover', /descriptor \d+ of thread \d+ is another file/],
  ])('between the last copy and the proof %s, which is noticed', (_, command, doubt) =>
    withTracedScene({}, async ({ writer, marked, startTracker }) => {
      const tracker = await startTracker();
      expect((await writer.obey('aside', 50)).result).toBe(4096);
      await writer.obey('pwrite', 0, 4096);
      expect(tracker.settle()).toBeNull();
      marked.clear();
      const { result } = await writer.obey(command, command === 'cover' ? 60 : 50, 8192);
      expect(result).toBeGreaterThanOrEqual(0);
      expect(tracker.prove()).toMatch(doubt);
      // It was not marked: the proof is all there is against it.
      expect([...marked]).toEqual([]);
    }),
  );

  test('a disk that is appended to since its descriptor was looked up is noticed in the proof', () =>
    withTracedScene({}, async ({ writer, startTracker }) => {
      const tracker = await startTracker();
      await writer.obey('pwrite', 0, 4096);
      expect(tracker.follow()).toBeNull();
      // Traced as a write to its beginning, where it did not go.
      expect((await writer.obey('append', 0, 4096)).result).toBe(4096);
      expect(tracker.settle()).toBeNull();
      expect(tracker.prove()).toMatch(/descriptor \d+ of thread \d+ is another file/);
    }));
});

describe.skipIf(why !== null)('doubts about others who write the disk', () => {
  test('who has it open for writing, or mapped and no descriptor any more, is noticed before anything is copied', () =>
    withTracedScene({}, async ({ startOther, startTracker }) => {
      const other = await startOther();
      await expect(startTracker()).rejects.toThrow(`process ${other.pid} (disk-writer) has a disk open`);
      await other.obey('mmap');
      await other.obey('close');
      await expect(startTracker()).rejects.toThrow(/mapped into its memory/);
    }));

  test.skipIf(!canLoopMount())('a loop device on it is noticed before anything is copied', () =>
    withTracedScene({}, async ({ image, startTracker }) => {
      const device = (await runTool('losetup', ['--find', '--show', image])).toString().trim();
      try {
        await expect(startTracker()).rejects.toThrow(`in use as ${device}`);
      } finally {
        await runTool('losetup', ['--detach', device]);
      }
    }),
  );

  test.each<[string, (other: DiskWriterProcess, tracker: WriteTracker) => Promise<string | null>, RegExp]>([
    [
      'and maps it while the guest runs',
      async (other, tracker) => {
        await other.obey('mmap');
        return await waitFor('a doubt', () => tracker.follow());
      },
      /mapped into its memory/,
    ],
    [
      'and writes',
      async (other, tracker) => {
        await other.obey('pwrite', 0, 1);
        return endOf(tracker);
      },
      /^process \d+ \(disk-writer\) wrote to a disk as well/,
    ],
  ])('who may have it open for writing, %s, is noticed', (_, doubted, doubt) =>
    withTracedScene({}, async ({ writer, startOther, startTracker }) => {
      const other = await startOther();
      const tracker = await startTracker({ guestPids: [writer.pid, other.pid] });
      expect(endOf(tracker)).toBeNull();
      expect(await doubted(other, tracker)).toMatch(doubt);
    }),
  );

  const opened = /^process \d+ \(disk-writer\) opened a disk for writing/;
  test.each<[string, (scene: TracedScene) => Promise<unknown>, RegExp]>([
    ['opens it for writing later, before it writes', ({ startOther }) => startOther(), opened],
    [
      'opens, maps and closes it between two looks, as what it stores is not seen',
      async ({ startOther }) => {
        const other = await startOther();
        await other.obey('mmap');
        await other.obey('close');
      },
      opened,
    ],
    [
      'opens, writes and closes it between two looks',
      ({ image }) => runTool('sh', ['-c', 'printf x | dd of="$0" bs=1 conv=notrunc', image]),
      /wrote to a disk as well/,
    ],
    [
      'cuts it by its name',
      ({ image }) => runTool('truncate', ['-s', '4096', image]),
      /wrote to a disk as well|had a disk open for writing/,
    ],
  ])('who %s is noticed', (_, write, doubt) =>
    withTracedScene({}, async (scene) => {
      const tracker = await scene.startTracker();
      await write(scene);
      expect(endOf(tracker)).toMatch(doubt);
    }),
  );
});

/** What may happen to the tracing half-way. */
const sabotage: [string, (scene: TracedScene, tracker: WriteTracker) => Promise<unknown>, RegExp][] = [
  ['is switched off', ({ instance }) => writeFile(`${instance.path}/tracing_on`, '0'), /tracing_on/],
  [
    'is switched off for a moment in which a discard comes',
    async ({ instance, writer }, tracker) => {
      await writeFile(`${instance.path}/tracing_on`, '0');
      await writer.obey('punch', 0, 8192);
      tracker.follow();
      await writeFile(`${instance.path}/tracing_on`, '1');
    },
    /tracing_on/,
  ],
  [
    'loses an event',
    ({ instance }) => writeFile(`${instance.path}/events/syscalls/sys_enter_pwrite64/enable`, '0'),
    /changed the tracing .*set_event\)|was not seen/,
  ],
  [
    'loses all events',
    ({ instance }) => writeFile(`${instance.path}/set_event`, '!*:*\n'),
    /switched off|changed/,
  ],
  [
    'is turned to another thread',
    ({ instance }) => writeFile(`${instance.path}/set_event_pid`, '1'),
    /switched off|changed/,
  ],
  [
    'gets a smaller buffer',
    ({ instance }) => writeFile(`${instance.path}/buffer_size_kb`, '64'),
    /changed the tracing|overflowed|switched off/,
  ],
  [
    'is emptied by somebody else',
    async ({ instance, writer }) => {
      await writer.obey('pwrite', 0, 4096);
      await writeFile(`${instance.path}/trace`, '');
    },
    /bytes more than were traced|not seen/,
  ],
];

describe.skipIf(why !== null)('doubts about the tracing', () => {
  test.each(sabotage)('a tracing that %s is noticed', (_, spoil, doubt) =>
    withTracedScene({}, async (scene) => {
      const tracker = await scene.startTracker();
      await scene.writer.obey('pwrite', 0, 4096);
      expect(endOf(tracker)).toBeNull();
      await spoil(scene, tracker);
      await scene.writer.obey('pwrite', 0, 4096);
      expect(endOf(tracker)).toMatch(doubt);
    }),
  );

  test('a trace buffer of 4 KiB overflows, which is noticed', () =>
    withTracedScene({}, async ({ writer, startTracker }) => {
      const tracker = await startTracker({ bufferKib: 4 });
      await writer.obey('storm', 2000);
      expect(endOf(tracker)).toMatch(/overflowed|lost/);
    }));

  test.skipIf(cpuNumbers().length < 2)('what overflows on a CPU where nobody follows is noticed', () =>
    withTracedScene({}, async ({ writer, startTracker }) => {
      const tracker = await startTracker({ bufferKib: 4 });
      const [first = 0, second = 1] = cpuNumbers();
      const before = (await runTool('taskset', ['-pc', String(process.pid)]))
        .toString()
        .split(': ')[1]
        ?.trim();
      await runTool('taskset', ['-pc', String(first), String(process.pid)]);
      try {
        await runTool('taskset', ['-pc', String(second), String(writer.tid)]);
        await writer.obey('storm', 2000);
        expect(endOf(tracker)).toMatch(`buffer of CPU ${second} overflowed`);
      } finally {
        await runTool('taskset', ['-pc', before ?? '', String(process.pid)]);
      }
    }),
  );

  test('a tracefs that is unmounted half-way is noticed', () =>
    withTracedScene({}, async ({ dir, instance, writer, startTracker }) => {
      const mountPoint = `${dir}/tracing`;
      await runTool('mkdir', [mountPoint]);
      await runTool('mount', ['-t', 'tracefs', 'tracefs', mountPoint]);
      try {
        const instancePath = instance.path.replace(/^.*(?=\/instances\/)/, mountPoint);
        const tracker = await startTracker({ instancePath });
        await writer.obey('pwrite', 0, 4096);
        expect(endOf(tracker)).toBeNull();
        await runTool('umount', ['-l', mountPoint]);
        await writer.obey('pwrite', 0, 4096);
        expect(endOf(tracker)).toMatch(/gone from/);
        tracker.close();
      } finally {
        // Still mounted when an expectation above was not met.
        await runTool('sh', ['-c', 'umount -l "$0" 2>/dev/null; true', mountPoint]);
      }
    }));

  test('a writer that hardly rests ends in accounts or in a reason, and never in an endless wait', () =>
    withTracedScene({}, async ({ writer, startTracker }) => {
      const storm = writer.obey('storm', 100_000_000).catch(() => null);
      // Under way before tracing begins.
      await sleep(50);
      const started = startTracker().then(
        () => 'accounts begun',
        (error: Error) => error.message,
      );
      // On a busy machine even such a writer has to wait for the processor, and may well be met resting.
      expect(await started).toMatch(/accounts begun|never stopped writing|fills faster|lost/);
      await writer.end();
      await storm;
    }));
});
