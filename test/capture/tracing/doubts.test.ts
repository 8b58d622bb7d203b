import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import type { WriteTracker } from '../../../src/capture/precopy/write-tracker.js';
import { cpuNumbers } from '../../../src/capture/tracing/cpu-list.js';
import { canLoopMount } from '../../support/loop-filesystem.js';
import { runTool } from '../../support/run-tool.js';
import { waitFor } from '../../support/wait-for.js';
import { endOf, type TracedScene, withTracedScene } from './traced-scene.js';
import { whyNoTracing } from './why-no-tracing.js';

const why = await whyNoTracing();

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

describe.skipIf(why !== null).each(['process', 'thread'] as const)('a %s of the guest', (kind) => {
  for (const [command, a, b, doubt] of unplaceable) {
    const left = refused.get(command);
    const title = `that writes by "${command}" (${a}, ${b}) is noticed${left ?? ''}`;
    test.skipIf(left !== undefined)(title, () =>
      withTracedScene({ kind }, async ({ writer, startTracker }) => {
        const tracker = await startTracker();
        expect((await writer.obey(command, a, b)).result).toBeGreaterThanOrEqual(0);
        expect(endOf(tracker)).toMatch(doubt);
        // It stays, whatever comes after.
        expect(tracker.prove() ?? tracker.confirm()).not.toBeNull();
      }),
    );
  }
});

type Act = (scene: TracedScene, tracker: WriteTracker) => Promise<unknown>;

/** What happens to a disk, or to the tracing of it, while it is watched, and what is said of that. A doubt stays. */
function expectDoubt(act: Act, doubt: RegExp | string): Promise<void> {
  return withTracedScene({}, async (scene) => {
    const tracker = await scene.startTracker();
    await act(scene, tracker);
    expect(endOf(tracker)).toMatch(doubt);
  });
}

/** What was another file when it was looked up, or will be: a write through it is taken for a write to that, and not marked. */
const swapping =
  (command: string, fd: number): Act =>
  async ({ writer, marked }, tracker) => {
    expect((await writer.obey('aside', 50)).result).toBe(4096);
    await writer.obey('pwrite', 0, 4096);
    expect(tracker.settle()).toBeNull();
    marked.clear();
    expect((await writer.obey(command, fd, 8192)).result).toBeGreaterThanOrEqual(0);
    expect(tracker.prove() ?? tracker.confirm()).not.toBeNull();
    expect([...marked]).toEqual([]);
  };

describe.skipIf(why !== null)('of what the guest does', () => {
  const left = refused.get('call32');
  test.skipIf(left !== undefined)(
    `a call that the tracer does not see is noticed while it runs, before any stop${left ?? ''}`,
    () =>
      expectDoubt(async ({ writer }, tracker) => {
        expect((await writer.obey('call32')).result).toBeGreaterThanOrEqual(0);
        await waitFor('a doubt', () => tracker.follow());
      }, /more than were traced/),
  );

  test.each<[string, Act, RegExp]>([
    [
      'a write between the last copy and the proof',
      async ({ writer }, tracker) => {
        await writer.obey('pwrite', 0, 4096);
        expect(tracker.settle()).toBeNull();
        await writer.obey('pwrite', 0, 4096);
        expect(tracker.prove() ?? tracker.confirm()).not.toBeNull();
      },
      /should have stood still/,
    ],
    [
      'a write that has not ended',
      async ({ writer }) => {
        writer.obey('stuck').catch(() => {}); // until it is killed
        const syscall = `/proc/${writer.pid}/task/${writer.tid}/syscall`;
        await waitFor('it to be inside of it', () => /^1 .* 0x10000 /.test(readFileSync(syscall, 'latin1')));
      },
      /is still inside a call/,
    ],
    [
      'more than the kernel keeps for who watches the disk',
      async ({ writer }) => {
        const kept = Number(readFileSync('/proc/sys/fs/fanotify/max_queued_events', 'latin1'));
        expect((await writer.obey('crowd', kept + 1)).result).toBe(kept + 1);
      },
      /more happened to the disks than the kernel could tell/,
    ],
    ['the death of its writer', ({ writer }) => writer.end(), /is gone|had a disk open/],
    [
      'the disk in the place of another file, between the last copy and the proof,',
      swapping('dup', 50),
      /descriptor 50 of thread \d+ is another file/,
    ],
    [
      'another file in the place of the disk, between the last copy and the proof,',
      swapping('cover', 60),
      /descriptor \d+ of thread \d+ is another file/,
    ],
    [
      'a descriptor that appends since it was looked up',
      async ({ writer }, tracker) => {
        await writer.obey('pwrite', 0, 4096);
        expect(tracker.follow()).toBeNull();
        // Traced as a write to its beginning, where it did not go.
        expect((await writer.obey('append', 0, 4096)).result).toBe(4096);
        expect(tracker.settle()).toBeNull();
      },
      /descriptor \d+ of thread \d+ is another file/,
    ],
  ])('%s is noticed', (_, act, doubt) => expectDoubt(act, doubt));
});

describe.skipIf(why !== null)('another process', () => {
  test('that has the disk open for writing, or mapped and no descriptor any more, is noticed before anything is copied', () =>
    withTracedScene({}, async ({ startOther, startTracker }) => {
      const other = await startOther();
      await expect(startTracker()).rejects.toThrow(`process ${other.pid} (disk-writer) has a disk open`);
      await other.obey('mmap');
      await other.obey('close');
      await expect(startTracker()).rejects.toThrow(/mapped into its memory/);
    }));

  test.skipIf(!canLoopMount())('that is a loop device is noticed before anything is copied', () =>
    withTracedScene({}, async ({ image, startTracker }) => {
      const device = (await runTool('losetup', ['--find', '--show', image])).toString().trim();
      try {
        await expect(startTracker()).rejects.toThrow(`in use as ${device}`);
      } finally {
        await runTool('losetup', ['--detach', device]);
      }
    }),
  );

  test.each([
    ['maps it while the guest runs', 'mmap', /mapped into its memory/],
    ['writes it', 'pwrite', /^process \d+ \(disk-writer\) wrote to a disk as well/],
  ])('that may have the disk open for writing, and %s, is noticed', (_, command, doubt) =>
    withTracedScene({}, async ({ writer, startOther, startTracker }) => {
      const other = await startOther();
      const tracker = await startTracker({ guestPids: [writer.pid, other.pid] });
      expect(endOf(tracker)).toBeNull();
      await other.obey(command, 0, 1);
      expect(await waitFor('a doubt', () => tracker.follow())).toMatch(doubt);
    }),
  );

  const opened = /^process \d+ \(disk-writer\) opened a disk for writing/;
  test.each<[string, Act, RegExp]>([
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
  ])('that %s is noticed', (_, act, doubt) => expectDoubt(act, doubt));
});

/** Writes a file of the trace instance. */
const set =
  (file: string, text: string): Act =>
  ({ instance }) =>
    writeFile(`${instance.path}/${file}`, text);

describe.skipIf(why !== null)('a tracing', () => {
  test.each<[string, Act, RegExp]>([
    ['is switched off', set('tracing_on', '0'), /tracing_on/],
    [
      'is switched off for a moment in which a discard comes',
      async (scene, tracker) => {
        await set('tracing_on', '0')(scene, tracker);
        await scene.writer.obey('punch', 0, 8192);
        tracker.follow();
        await set('tracing_on', '1')(scene, tracker);
      },
      /tracing_on/,
    ],
    [
      'loses an event',
      set('events/syscalls/sys_enter_pwrite64/enable', '0'),
      /changed the tracing .*set_event\)|was not seen/,
    ],
    ['loses all events', set('set_event', '!*:*\n'), /switched off|changed/],
    ['is turned to another thread', set('set_event_pid', '1'), /switched off|changed/],
    ['gets a smaller buffer', set('buffer_size_kb', '64'), /changed the tracing|overflowed|switched off/],
    [
      'is emptied by somebody else',
      async (scene, tracker) => {
        await scene.writer.obey('pwrite', 0, 4096);
        await set('trace', '')(scene, tracker);
      },
      /bytes more than were traced|not seen/,
    ],
  ])('that %s is noticed', (_, spoil, doubt) =>
    expectDoubt(async (scene, tracker) => {
      await scene.writer.obey('pwrite', 0, 4096);
      expect(endOf(tracker)).toBeNull();
      await spoil(scene, tracker);
      await scene.writer.obey('pwrite', 0, 4096);
    }, doubt),
  );

  test('that overflows is noticed, also on a CPU where nobody follows', () =>
    withTracedScene({}, async ({ writer, startTracker }) => {
      const tracker = await startTracker({ bufferKib: 4 });
      const [first = 0, second = first] = cpuNumbers();
      const onCpu = (cpus: string | number, tid: number) =>
        runTool('taskset', ['-pc', String(cpus), String(tid)]);
      const before = (await runTool('taskset', ['-pc', String(process.pid)])).toString();
      await onCpu(first, process.pid);
      try {
        await onCpu(second, writer.tid);
        await writer.obey('storm', 2000);
        expect(endOf(tracker)).toMatch(`buffer of CPU ${second} overflowed`);
      } finally {
        await onCpu(before.split(': ')[1]?.trim() ?? '', process.pid);
      }
    }));

  test('whose tracefs is unmounted is noticed', () =>
    withTracedScene({}, async ({ dir, instance, writer, startTracker }) => {
      const mountPoint = `${dir}/tracing`;
      await mkdir(mountPoint);
      await runTool('mount', ['-t', 'tracefs', 'tracefs', mountPoint]);
      const unmount = () => runTool('umount', ['-l', mountPoint]);
      try {
        const instancePath = instance.path.replace(/^.*(?=\/instances\/)/, mountPoint);
        const tracker = await startTracker({ instancePath });
        await writer.obey('pwrite', 0, 4096);
        expect(endOf(tracker)).toBeNull();
        await unmount();
        await writer.obey('pwrite', 0, 4096);
        expect(endOf(tracker)).toMatch(/gone from/);
      } finally {
        // Still mounted when an expectation above was not met.
        await unmount().catch(() => {});
      }
    }));
});
