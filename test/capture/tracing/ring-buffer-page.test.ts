import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fieldOffset, parseEventFormat, parsePageFormat } from '../../../src/capture/tracing/event-format.js';
import { visitPage } from '../../../src/capture/tracing/ring-buffer-page.js';

const format = { timestampOffset: 0, commitOffset: 8, dataOffset: 16, sizeBytes: 4096 };
const headerPage = `	field: u64 timestamp;	offset:0;	size:8;	signed:0;
	field: local_t commit;	offset:8;	size:8;	signed:1;
	field: int overwrite;	offset:8;	size:1;	signed:1;
	field: char data;	offset:16;	size:4080;	signed:0;
`;
const pwriteFormat = `name: sys_enter_pwrite64
ID: 836
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:int __syscall_nr;	offset:8;	size:4;	signed:1;
	field:unsigned int fd;	offset:16;	size:8;	signed:0;
	field:const char * buf;	offset:24;	size:8;	signed:0;
	field:char comm[16];	offset:32;	size:16;	signed:0;

print fmt: "fd: 0x%08lx, buf: 0x%08lx", REC->fd, REC->buf
`;

type Entry =
  | { is: 'small'; delta: number; words: number[] }
  | { is: 'large'; delta: number; words: number[] }
  | { is: 'padding'; delta: number; words: number[] }
  | { is: 'extend'; delta: number; high: number };

/** Lays entries out as the kernel does (include/linux/ring_buffer.h). */
function pageOf(start: number, entries: Entry[], flags = 0): Buffer {
  const page = Buffer.alloc(format.sizeBytes);
  page.writeBigUInt64LE(BigInt(start), format.timestampOffset);
  let at = format.dataOffset;
  const put = (word: number) => {
    at = page.writeUInt32LE(word >>> 0, at);
  };
  for (const entry of entries) {
    const head = (type: number) => put(type | (entry.delta << 5));
    if (entry.is === 'extend') {
      head(30);
      put(entry.high);
      continue;
    }
    head(entry.is === 'small' ? entry.words.length : entry.is === 'large' ? 0 : 29);
    if (entry.is !== 'small') put(4 + entry.words.length * 4);
    for (const word of entry.words) put(word);
  }
  page.writeUInt32LE((at - format.dataOffset + flags) >>> 0, format.commitOffset);
  return page;
}

function visited(page: Buffer): { events: [number, number][]; problem: string | null } {
  const events: [number, number][] = [];
  const problem = visitPage(page, format, (bytes, at, stamp) => events.push([stamp, bytes.readUInt32LE(at)]));
  return { events, problem };
}

const word = fc.nat(0xffffffff);
const delta = fc.nat(2 ** 27 - 1);
const entry: fc.Arbitrary<Entry> = fc.oneof(
  fc.record({
    is: fc.constant('small' as const),
    delta,
    words: fc.array(word, { minLength: 1, maxLength: 28 }),
  }),
  fc.record({
    is: fc.constant('large' as const),
    delta,
    words: fc.array(word, { minLength: 29, maxLength: 40 }),
  }),
  fc.record({
    is: fc.constant('padding' as const),
    // A padding without a delta ends the page.
    delta: delta.map((value) => value + (value === 0 ? 1 : 0)),
    words: fc.array(word, { minLength: 1, maxLength: 10 }),
  }),
  fc.record({ is: fc.constant('extend' as const), delta, high: fc.nat(1000) }),
);

describe('pages of the trace buffer', () => {
  test('every event of a page is found, with its stamp, whatever stands between', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 40), fc.array(entry, { maxLength: 20 }), (start, entries) => {
        let stamp = start;
        const expected: [number, number][] = [];
        for (const one of entries) {
          stamp += one.delta + (one.is === 'extend' ? one.high * 2 ** 27 : 0);
          if (one.is === 'small' || one.is === 'large') expected.push([stamp, one.words[0] ?? 0]);
        }
        expect(visited(pageOf(start, entries))).toEqual({ events: expected, problem: null });
      }),
    );
  });

  test('a page before which events were lost says so, and its events are read', () => {
    const page = pageOf(5, [{ is: 'small', delta: 1, words: [9] }], 2 ** 31);
    expect(visited(page)).toEqual({ events: [[6, 9]], problem: 'the trace buffer overflowed' });
  });

  test('an event that runs over the end is a problem, and is not read', () => {
    const page = pageOf(0, [{ is: 'small', delta: 1, words: [1, 2, 3] }]);
    page.writeUInt32LE(12, format.commitOffset);
    expect(visited(page)).toEqual({ events: [], problem: 'an event of the trace buffer is cut off' });
  });

  test.each([
    ['that ends within the first word of an event', 13, [0]],
    ['whose padding goes back', 40, [29 | (1 << 5), 0xfffffff0]],
    ['whose padding goes on beyond its end', 40, [29 | (1 << 5), 4000]],
    ['whose long event has no length', 40, [0, 0]],
  ])('a page %s is a problem, not the end of us', (_, lengthBytes, words) => {
    const page = Buffer.alloc(format.sizeBytes);
    page.writeUInt32LE(lengthBytes, format.commitOffset);
    // Events of four words until those that are meant.
    const meantAt = format.dataOffset + (lengthBytes < 16 ? 12 : 0);
    if (lengthBytes < 16) page.writeUInt32LE(2, format.dataOffset);
    for (const [index, value] of words.entries()) page.writeUInt32LE(value, meantAt + 4 * index);
    expect(visitPage(page, format, () => {})).toBe('an event of the trace buffer is cut off');
  });

  test('no page of random bytes hangs the reader or leads it out of the page', () => {
    const length = fc.nat(format.sizeBytes);
    const bytes = fc.uint8Array({ minLength: format.sizeBytes, maxLength: format.sizeBytes });
    fc.assert(
      fc.property(bytes, fc.option(length), (random, lengthBytes) => {
        const page = Buffer.from(random);
        // A length that is random as well is nearly always too long, and nothing is read.
        if (lengthBytes !== null) page.writeUInt32LE(lengthBytes, format.commitOffset);
        visitPage(page, format, (_, at) => expect(at).toBeLessThanOrEqual(page.length));
      }),
      { numRuns: 300 },
    );
  });
});

describe('formats of trace events', () => {
  test('fields are found by name, arrays and pointers too', () => {
    const parsed = parseEventFormat(pwriteFormat);
    expect(parsed.id).toBe(836);
    expect(['common_pid', 'fd', 'buf', 'comm'].map((name) => fieldOffset(parsed, name))).toEqual([
      4, 16, 24, 32,
    ]);
  });

  test('the layout of a page is read from the kernel, not guessed', () => {
    expect(parsePageFormat(headerPage)).toEqual(format);
  });

  test('a field that the kernel does not have is a problem with its name', () => {
    expect(() => fieldOffset(parseEventFormat(pwriteFormat), 'pos')).toThrow(/no field pos/);
    expect(() => parseEventFormat('nothing')).toThrow(/no ID/);
  });
});
