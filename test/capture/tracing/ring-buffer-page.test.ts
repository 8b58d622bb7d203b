import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fieldOffset, parseEventFormat } from '../../../src/capture/tracing/event-format.js';
import { visitPage } from '../../../src/capture/tracing/ring-buffer-page.js';

const format = { timestampOffset: 0, commitOffset: 8, dataOffset: 16, sizeBytes: 4096 };
type Entry =
  | { type: 'small' | 'large' | 'padding'; delta: number; words: number[] }
  | { type: 'extend'; delta: number; high: number };

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
    if (entry.type === 'extend') {
      head(30);
      put(entry.high);
      continue;
    }
    head(entry.type === 'small' ? entry.words.length : entry.type === 'large' ? 0 : 29);
    if (entry.type !== 'small') put(4 + entry.words.length * 4);
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

/** Entries of so many words. */
function entries(type: 'small' | 'large' | 'padding', minLength: number, maxLength: number) {
  // A padding without a delta ends the page.
  const delta = fc.integer({ min: type === 'padding' ? 1 : 0, max: 2 ** 27 - 1 });
  const words = fc.array(fc.nat(0xffffffff), { minLength, maxLength });
  return fc.record({ type: fc.constant(type), delta, words });
}

const entry: fc.Arbitrary<Entry> = fc.oneof(
  entries('small', 1, 28),
  entries('large', 29, 40),
  entries('padding', 1, 10),
  fc.record({ type: fc.constant('extend' as const), delta: fc.nat(2 ** 27 - 1), high: fc.nat(1000) }),
);

describe('pages of the trace buffer', () => {
  test('every event of a page is found, with its stamp, whatever stands between', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 40), fc.array(entry, { maxLength: 20 }), (start, entries) => {
        let stamp = start;
        const expected: [number, number][] = [];
        for (const one of entries) {
          stamp += one.delta + (one.type === 'extend' ? one.high * 2 ** 27 : 0);
          if (one.type === 'small' || one.type === 'large') expected.push([stamp, one.words[0] ?? 0]);
        }
        expect(visited(pageOf(start, entries))).toEqual({ events: expected, problem: null });
      }),
    );
  });

  test('a page before which events were lost says so, and its events are read', () => {
    const page = pageOf(5, [{ type: 'small', delta: 1, words: [9] }], 2 ** 31);
    expect(visited(page)).toEqual({ events: [[6, 9]], problem: 'the trace buffer overflowed' });
  });

  test.each([
    ['whose event runs over its end', 12, [3 | (1 << 5)], []],
    // After an event of two words.
    ['that ends within the first word of an event', 13, [2 | (1 << 5)], [[1, 0]]],
    ['whose padding goes back', 40, [29 | (1 << 5), 0xfffffff0], []],
    ['whose padding goes on beyond its end', 40, [29 | (1 << 5), 4000], []],
    ['whose long event has no length', 40, [0, 0], []],
  ])('a page %s is a problem, not the end of us', (_, lengthBytes, words, events) => {
    const page = Buffer.alloc(format.sizeBytes);
    page.writeUInt32LE(lengthBytes, format.commitOffset);
    for (const [index, word] of words.entries()) page.writeUInt32LE(word, format.dataOffset + 4 * index);
    expect(visited(page)).toEqual({ events, problem: 'an event of the trace buffer is cut off' });
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

test('a field that the kernel does not have is a problem with its name', () => {
  expect(() => fieldOffset(parseEventFormat('ID: 836\n'), 'pos')).toThrow(/no field pos/);
  expect(() => parseEventFormat('nothing')).toThrow(/no ID/);
});
