import { describe, expect, test } from 'vitest';
import { parseCpuList } from '../../../src/capture/tracing/cpu-list.js';
import { type DescriptorKind, trackedCalls } from '../../../src/capture/tracing/tracked-calls.js';

/** What those calls do that disk-writer.c can't be told to make, or not in this way. */

const kinds: Record<number, DescriptorKind> = {
  3: { type: 'disk', disk: 0, appends: false },
  5: { type: 'other' },
};

const effect = (name: string, args: number[], result: number) =>
  trackedCalls
    .find((one) => one.name === name)
    ?.effect(args, result, (fd) => kinds[fd] ?? { type: 'unknown' });

const EIO = -5;

describe('what a call does to a disk', () => {
  test('a write that was cut short or failed is marked in full, for parts of it may have come through', () => {
    const write = (length: number) => ({ type: 'write', disk: 0, offset: 0, length });
    expect(effect('pwrite64', [3, 4096, 0], 100)).toEqual(write(4096));
    expect(effect('pwrite64', [3, 4096, 0], EIO)).toEqual(write(4096));
    expect(effect('fallocate', [3, 0x03, 0, 8192], EIO)).toEqual(write(8192));
  });

  test.each([
    ['pwritev', [3, 0], EIO],
    ['pwritev2', [3, 0, 0x10], 10],
    ['fallocate', [3, 0x1000, 0, 4096], 0],
    ['mmap', [3, 3], 4096],
    ['ioctl', [3, 0x40049409], 0],
    ['io_uring_setup', [], 7],
    ['io_uring_enter', [], 1],
    // A descriptor that was gone before we looked.
    ['write', [9, 0, 0, 0], 10],
    ['pwrite64', [9, 0, 0, 0], 10],
    ['pwritev', [9, 0, 0, 0], 10],
    ['fallocate', [9, 0, 0, 0], 10],
    ['splice', [9, 0, 0, 0], 10],
  ])('%s with arguments %j is in doubt', (name, args, result) => {
    expect(effect(name, args, result)?.type).toBe('doubt');
  });

  test.each([
    ['write', [5], 10],
    ['pwrite64', [5, 10, 0], 10],
    ['sendfile64', [5], 10],
    ['fallocate', [5, 0x03, 0, 4096], 0],
    ['ftruncate', [5], 0],
    ['mmap', [3, 2], 4096],
    ['mmap', [0xffffffff, 1], 4096],
    ['mmap', [3, 1], -12],
    ['ioctl', [3, 0xc020660b], 0],
    ['ioctl', [3, 0x40049409], -95],
    ['io_uring_setup', [], -38],
    ['pwrite64', [9, 10, 0], -9],
  ])('%s with arguments %j that gave %d changes no disk', (name, args, result) => {
    expect(effect(name, args, result)).toEqual({ type: 'nothing' });
  });
});

test('a list of CPUs with ranges and gaps is read in full', () => {
  expect(parseCpuList('0-2,5\n')).toEqual([0, 1, 2, 5]);
  expect(parseCpuList('0\n')).toEqual([0]);
});
