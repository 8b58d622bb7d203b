import { expect, test } from 'vitest';
import { checkRoom } from '../../src/doctor/check-room.js';
import { neededRoom, type RoomUser } from '../../src/doctor/needed-room.js';

const now = new Date('2026-11-21T12:00:00Z');
const mib = 2 ** 20;

/** A guest that is backed up every night at 03:15, and has a snapshot of each of so many nights. */
function nightly(nights: number, more: Partial<RoomUser> = {}): RoomUser {
  const snapshots = Array.from({ length: nights }, (_, night) => {
    const takenAt = new Date(Date.UTC(2026, 10, 21 - night, 3, 15)).toISOString();
    const facts = { pinned: false, good: true, storedBytes: 100 * mib, sharesBlocks: false };
    return { snapshot: `debian@${takenAt}`, takenAt, ...facts };
  });
  const user = { guest: 'debian', schedule: '15 3 * * *', timezone: 'UTC', keep: {}, capture: null };
  return { ...user, snapshots, ...more };
}

const ofDisks = (sharesBlocks: boolean) => ({ capture: { dataBytes: 40 * mib, sharesBlocks } });

test.each<[string, RoomUser, { nextMib?: number; weekMib: number; runs?: number }]>([
  ['one snapshot a night where everything is kept', nightly(3), { nextMib: 104, weekMib: 700, runs: 7 }],
  ['one only where as many are removed as are made', nightly(7, { keep: { daily: 7 } }), { weekMib: 100 }],
  ['more and more until the keep rules are full', nightly(3, { keep: { daily: 7 } }), { weekMib: 500 }],
  ['the disks where there is no snapshot yet', nightly(0, ofDisks(false)), { nextMib: 44, weekMib: 280 }],
  ['nothing by hand', nightly(1, { schedule: undefined }), { nextMib: 104, weekMib: 0, runs: 0 }],
  ['one disk anew where blocks are shared', nightly(0, ofDisks(true)), { nextMib: 4, weekMib: 40 }],
])('the room that a guest needs within a week is that of %s', (_, user, { nextMib, weekMib, runs }) => {
  const found = neededRoom(user, now);
  expect(found.weekBytes).toBe(weekMib * mib);
  if (nextMib !== undefined) expect(found.nextBytes).toBe(nextMib * mib);
  if (runs !== undefined) expect(found.runs).toBe(runs);
});

test('a store without room for the next snapshot is critical, for the next week a warning, without inodes too', () => {
  const needed = [neededRoom(nightly(1), now)];
  const levelOf = (bytes: number, inodes = 1e6) => checkRoom('local', { bytes, inodes }, needed).level;
  expect(levelOf(103 * mib)).toBe('critical');
  expect(levelOf(600 * mib)).toBe('warning');
  expect(levelOf(800 * mib)).toBe('ok');
  expect(levelOf(800 * mib, 10)).toBe('critical');
  expect(levelOf(800 * mib, 100)).toBe('warning');
  // What is carried into it waits where it is.
  expect(checkRoom('arch', { bytes: 103 * mib, inodes: 1e6 }, needed, false)).toMatchObject({
    ...{ level: 'warning', means: 'The next snapshot gets no copy here.' },
  });
});
