import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  dropLease,
  endLease,
  endUnusedLease,
  leaseFile,
  readLease,
  readLeases,
  writeLease,
} from '../../src/pause/lease.js';
import { bootId } from '../../src/process-identity.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

/** That it is durable before anybody is stopped stands in durability/order-of-calls.test.ts. */

const facts = {
  ...{ guest: 'debian', job: 'job', pause: 'job.1', socketPath: '/s' },
  main: { pid: 7, startTicks: 70 },
  orchestrator: { pid: 8, startTicks: 80 },
  guardian: { pid: 9, startTicks: 90 },
  pauser: { pid: 10, startTicks: 100 },
  deadlineAt: '2026-11-21T03:15:05.000Z',
};
const next = { ...facts, pause: 'job.2' };
const ended = { endedAt: '2026-11-21T03:15:01.000Z', endedBy: 'request', pausedMs: 1.5 } as const;

let dir: string;
let file: string;
beforeEach(async () => {
  dir = await makeTempDir();
  file = leaseFile(dir, 'debian');
});
afterEach(() => removeTempDir(dir));

async function expectOpen(pause: string): Promise<void> {
  const found = await readLease(file);
  expect(found).toMatchObject({ lease: { pause } });
  expect(found).not.toHaveProperty('lease.ended');
}

describe('a lease', () => {
  test('is read as it was written, with the boot that it was written in', async () => {
    expect(await readLeases(dir)).toEqual([]);
    await writeLease(file, facts);
    const lease = { format: 'umlsnap-lease/2', bootId: bootId(), ...facts };
    expect(await readLeases(dir)).toEqual([{ file, lease }]);
    expect(readdirSync(dirname(file))).toEqual(['debian.json']);
  });

  test('that a version wrote whose guardian stopped the guests is read as well', async () => {
    const { pauser: _, ...older } = facts;
    await writeLease(file, next);
    writeFileSync(file, JSON.stringify({ format: 'umlsnap-lease/1', bootId: bootId(), ...older }));
    await expectOpen('job.1');
  });

  test('of the next pause takes the place of the one before, is neither ended nor dropped in its place, and leaves nothing', async () => {
    await writeLease(file, facts);
    endLease(file, 'job.1', ended);
    // What a kill in the middle of writing it has left.
    writeFileSync(`${file}.new`, '{"half');
    await writeLease(file, next);
    await expectOpen('job.2');
    endLease(file, 'job.1', ended);
    dropLease(file, 'job.1');
    await expectOpen('job.2');
    endLease(file, 'job.2', ended);
    for (const _ of ['dropped', 'dropped again']) dropLease(file, 'job.2');
    expect(readdirSync(dirname(file))).toEqual([]);
  });

  const ofNobody = { format: 'umlsnap-lease/1', bootId: 'x', ...facts, main: { pid: 0 } };
  test.each([
    ['is empty', ''],
    ['is half written', '{"format":"umlsnap-lease/1","guest":"deb'],
    ['is of a later version', JSON.stringify({ format: 'umlsnap-lease/3' })],
    ['names no process', JSON.stringify(ofNobody)],
  ])('that %s is told as damaged, never dropped in silence', async (_, text) => {
    await writeLease(file, facts);
    writeFileSync(file, text);
    expect(await readLeases(dir)).toEqual([{ file, damaged: expect.any(String) }]);
    expect(existsSync(file)).toBe(true);
  });
});

describe('the note that a pause is over', () => {
  test.each([
    ['is half written', '{"pause":"job.1","end'],
    ['is of another pause', JSON.stringify({ pause: 'job.0', ended })],
    [
      'has a length of less than nothing',
      JSON.stringify({ pause: 'job.1', ended: { ...ended, pausedMs: -1 } }),
    ],
  ])('counts for nothing when it %s', async (_, text) => {
    await writeLease(file, facts);
    writeFileSync(`${file}.ended`, text);
    await expectOpen('job.1');
  });

  test('by a guardian that leaves is only of its own lease, and not over a true end', async () => {
    const unused = { ...ended, endedBy: 'notStopped', pausedMs: null } as const;
    endUnusedLease(file, facts.guardian.pid, unused);
    await writeLease(file, facts);
    endUnusedLease(file, 4711, unused);
    await expectOpen('job.1');
    endLease(file, 'job.1', ended);
    endUnusedLease(file, facts.guardian.pid, unused);
    expect(await readLease(file)).toMatchObject({ lease: { ended } });
  });
});
