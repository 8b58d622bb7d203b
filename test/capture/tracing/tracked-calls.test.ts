import { describe, expect, test } from 'vitest';
import { parseCpuList } from '../../../src/capture/tracing/cpu-list.js';
import { type DescriptorKind, trackedCalls } from '../../../src/capture/tracing/tracked-calls.js';

const kinds: Record<number, DescriptorKind> = {
  3: { is: 'disk', disk: 0, appends: false },
  4: { is: 'disk', disk: 1, appends: true },
  5: { is: 'other' },
};
const unknown: DescriptorKind = { is: 'unknown' };

function effect(name: string, args: number[], result: number) {
  const call = trackedCalls.find((one) => one.name === name);
  return call?.effect(args, result, (fd) => kinds[fd] ?? unknown);
}

const write = (offset: number, length: number) => ({ is: 'write', disk: 0, offset, length });
const nothing = { is: 'nothing' };
const EIO = -5;

describe('what a call does to a disk', () => {
  test.each([
    ['pwrite64', [3, 100, 4096], 100, write(4096, 100)],
    ['pwritev', [3, 8192], 50, write(8192, 50)],
    ['pwritev2', [3, 8192, 0], 50, write(8192, 50)],
    ['fallocate', [3, 0x03, 4096, 8192], 0, write(4096, 8192)],
    ['fallocate', [3, 0x10, 4096, 8192], 0, write(4096, 8192)],
  ])('%s with arguments %j is placed', (name, args, result, expected) => {
    expect(effect(name, args, result)).toEqual(expected);
  });

  test('a write that was cut short or failed is marked in full, for parts of it may have come through', () => {
    expect(effect('pwrite64', [3, 4096, 0], 100)).toEqual(write(0, 4096));
    expect(effect('pwrite64', [3, 4096, 0], EIO)).toEqual(write(0, 4096));
    expect(effect('fallocate', [3, 0x03, 0, 8192], EIO)).toEqual(write(0, 8192));
  });

  test.each([
    ['write', [3], 10],
    ['writev', [3], 10],
    ['pwritev', [3, 0], EIO],
    ['pwritev2', [3, -1, 0], 10],
    ['pwritev2', [3, 0, 0x10], 10],
    ['pwrite64', [4, 10, 0], 10],
    ['fallocate', [3, 0x08, 0, 4096], 0],
    ['fallocate', [3, 0x1000, 0, 4096], 0],
    ['ftruncate', [3], 0],
    ['truncate', [], 0],
    ['sendfile64', [3], 10],
    ['copy_file_range', [3], 10],
    ['splice', [3], 10],
    ['mmap', [3, 1], 4096],
    ['mmap', [3, 3], 4096],
    ['ioctl', [3, 0x40049409], 0],
    ['io_submit', [], 1],
    ['io_uring_setup', [], 7],
    ['io_uring_enter', [], 1],
  ])('%s with arguments %j is in doubt', (name, args, result) => {
    expect(effect(name, args, result)?.is).toBe('doubt');
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
    expect(effect(name, args, result)).toEqual(nothing);
  });

  test.each(['write', 'pwrite64', 'pwritev', 'fallocate', 'splice'])(
    'a %s to a descriptor that was gone before we looked is in doubt',
    (name) => {
      expect(effect(name, [9, 0, 0, 0], 10)?.is).toBe('doubt');
    },
  );
});

test('a list of CPUs with ranges and gaps is read in full', () => {
  expect(parseCpuList('0-2,5\n')).toEqual([0, 1, 2, 5]);
  expect(parseCpuList('0\n')).toEqual([0]);
});
