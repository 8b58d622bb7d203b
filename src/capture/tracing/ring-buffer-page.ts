import type { PageFormat } from './event-format.js';

/** Reads the pages that the kernel's trace buffers hand out (include/linux/ring_buffer.h). Pure. */

const maxDataType = 28;
const paddingType = 29;
const timeExtendType = 30;
const timeStampType = 31;
const sizeMask = 0xfffff;
const missedEventsFlag = 0x80000000;
const deltaBits = 2 ** 27;
const cutOff = 'an event of the trace buffer is cut off';

/** `at` is where the event's data begins in the page. */
export type VisitEvent = (page: Buffer, at: number, stamp: number) => void;

/**
 * Visits the events of a page in their order. Stamps are of the clock that the buffer was set to.
 * @returns why the page can't be trusted, null when all of it was read
 */
export function visitPage(page: Buffer, format: PageFormat, visit: VisitEvent): string | null {
  const commit = page.readUInt32LE(format.commitOffset);
  const missed = (commit & missedEventsFlag) !== 0;
  const end = format.dataOffset + (commit & sizeMask);
  if (end > page.length) return 'a page of the trace buffer is longer than a page';
  let stamp = readUint64(page, format.timestampOffset);
  for (let at = format.dataOffset; at < end; ) {
    if (at + 4 > end) return cutOff;
    const head = page.readUInt32LE(at);
    const type = head & 31;
    const delta = head >>> 5;
    if (type >= 1 && type <= maxDataType) {
      stamp += delta;
      if (at + 4 + type * 4 > end) return cutOff;
      visit(page, at + 4, stamp);
      at += 4 + type * 4;
      continue;
    }
    // No event at all: what is left of the page is unused.
    if (type === paddingType && delta === 0) break;
    if (at + 8 > end) return cutOff;
    const word = page.readUInt32LE(at + 4);
    const isLong = type === 0 || type === paddingType;
    if (isLong && (word < 4 || at + 4 + word > end)) return cutOff;
    if (type === timeStampType) stamp = word * deltaBits + delta;
    else stamp += delta;
    if (type === timeExtendType) stamp += word * deltaBits;
    if (type === 0) visit(page, at + 8, stamp);
    at += isLong ? 4 + alignUp(word) : 8;
  }
  return missed ? 'the trace buffer overflowed' : null;
}

/** Exact up to 2^53, which no offset in a file and no count of events reaches. */
export function readUint64(page: Buffer, at: number): number {
  return page.readUInt32LE(at + 4) * 2 ** 32 + page.readUInt32LE(at);
}

/** As `readUint64`, of a signed number. */
export function readInt64(page: Buffer, at: number): number {
  return page.readInt32LE(at + 4) * 2 ** 32 + page.readUInt32LE(at);
}

function alignUp(length: number): number {
  return (length + 3) & ~3;
}
