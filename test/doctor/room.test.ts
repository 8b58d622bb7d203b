import { describe, expect, test } from 'vitest';
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
  return {
    guest: 'debian',
    schedule: '15 3 * * *',
    timezone: 'UTC',
    keep: {},
    snapshots,
    first: null,
    ...more,
  };
}

describe('the room that a guest needs within a week', () => {
  test('is one snapshot a night where everything is kept', () => {
    expect(neededRoom(nightly(3), now)).toMatchObject({
      nextBytes: 100 * mib,
      weekBytes: 700 * mib,
      runs: 7,
    });
  });

  test('is one snapshot only where as many are removed as are made', () => {
    expect(neededRoom(nightly(7, { keep: { daily: 7 } }), now).weekBytes).toBe(100 * mib);
  });

  test('grows until the keep rules are full', () => {
    expect(neededRoom(nightly(3, { keep: { daily: 7 } }), now).weekBytes).toBe(500 * mib);
  });

  test('is that of the disks where there is no snapshot yet, and nothing where no schedule is', () => {
    const first = { dataBytes: 40 * mib, sharesBlocks: false };
    expect(neededRoom(nightly(0, { first }), now)).toMatchObject({
      nextBytes: 40 * mib,
      weekBytes: 280 * mib,
    });
    const byHand = neededRoom(nightly(1, { schedule: undefined }), now);
    expect(byHand).toMatchObject({ nextBytes: 100 * mib, weekBytes: 0, runs: 0 });
  });

  test('is one disk written anew where snapshots share its blocks', () => {
    const first = { dataBytes: 40 * mib, sharesBlocks: true };
    expect(neededRoom(nightly(0, { first }), now)).toMatchObject({ nextBytes: 0, weekBytes: 40 * mib });
  });
});

test('a store without room for the next snapshot is critical, for the next week a warning, without inodes too', () => {
  const needed = [neededRoom(nightly(1), now)];
  const levelOf = (bytes: number, inodes = 1e6) => checkRoom('local', { bytes, inodes }, needed).level;
  expect(levelOf(99 * mib)).toBe('critical');
  expect(levelOf(600 * mib)).toBe('warning');
  expect(levelOf(800 * mib)).toBe('ok');
  expect(levelOf(800 * mib, 10)).toBe('warning');
});
