import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
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
import { canLoopMount, mountLoopFilesystem, whyNoLoopMount } from '../support/loop-filesystem.js';
import { runTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

const facts = {
  guest: 'debian',
  job: 'job',
  pause: 'job.1',
  socketPath: '/s',
  main: { pid: 7, startTicks: 70 },
  orchestrator: { pid: 8, startTicks: 80 },
  guardian: { pid: 9, startTicks: 90 },
  deadlineAt: '2026-11-21T03:15:05.000Z',
};
const ended = { endedAt: '2026-11-21T03:15:01.000Z', endedBy: 'request', pausedMs: 1.5 } as const;

let dir: string;
let file: string;
beforeEach(async () => {
  dir = await makeTempDir();
  file = leaseFile(dir, 'debian');
});
afterEach(() => removeTempDir(dir));

const filesLeft = () => readdirSync(dirname(file));

describe('a lease', () => {
  test('is read as it was written, with the boot that it was written in', async () => {
    expect(await readLeases(dir)).toEqual([]);
    await writeLease(file, facts);
    const lease = { format: 'umlsnap-lease/1', bootId: bootId(), ...facts };
    expect(await readLeases(dir)).toEqual([{ file, lease }]);
    expect(filesLeft()).toEqual(['debian.json']);
  });

  test('of the next pause takes the place of the one before, and its end is not taken over', async () => {
    await writeLease(file, facts);
    endLease(file, facts.pause, ended);
    await writeLease(file, { ...facts, pause: 'job.2' });
    const found = await readLease(file);
    expect(found).toMatchObject({ lease: { pause: 'job.2' } });
    expect(found).not.toHaveProperty('lease.ended');
  });

  test('of the next pause is neither ended nor dropped in the place of the one before', async () => {
    await writeLease(file, { ...facts, pause: 'job.2' });
    endLease(file, 'job.1', ended);
    dropLease(file, 'job.1');
    const found = await readLease(file);
    expect(found).toMatchObject({ lease: { pause: 'job.2' } });
    expect(found).not.toHaveProperty('lease.ended');
  });

  test('that is dropped leaves nothing, and may be dropped twice', async () => {
    await writeLease(file, facts);
    endLease(file, facts.pause, ended);
    dropLease(file, facts.pause);
    dropLease(file, facts.pause);
    expect(filesLeft()).toEqual([]);
  });

  test.each([
    ['is empty', ''],
    ['is half written', '{"format":"umlsnap-lease/1","guest":"deb'],
    ['is of a later version', JSON.stringify({ format: 'umlsnap-lease/2' })],
    [
      'names no process',
      JSON.stringify({ format: 'umlsnap-lease/1', bootId: 'x', ...facts, main: { pid: 0 } }),
    ],
  ])('that %s is told as damaged, never dropped in silence', async (_, text) => {
    await writeLease(file, facts);
    writeFileSync(file, text);
    expect(await readLeases(dir)).toEqual([{ file, damaged: expect.any(String) }]);
    expect(existsSync(file)).toBe(true);
  });

  test('can be written again after a kill in the middle of writing it', async () => {
    await writeLease(file, facts);
    writeFileSync(`${file}.new`, '{"half');
    await writeLease(file, { ...facts, pause: 'job.2' });
    expect(await readLease(file)).toMatchObject({ lease: { pause: 'job.2' } });
  });

  test('that can`t be written is an error that says where', async () => {
    writeFileSync(`${dir}/leases`, 'a file');
    await expect(writeLease(file, facts)).rejects.toMatchObject({
      code: 'StateUnusable',
      facts: { path: file },
    });
  });
});

describe('the note that a pause is over', () => {
  test('does not touch the durable lease', async () => {
    await writeLease(file, facts);
    const text = readFileSync(file, 'utf8');
    endLease(file, facts.pause, ended);
    expect(readFileSync(file, 'utf8')).toBe(text);
    expect(await readLease(file)).toMatchObject({ lease: { pause: 'job.1', ended } });
  });

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
    const found = await readLease(file);
    expect(found).toMatchObject({ lease: { pause: 'job.1' } });
    expect(found).not.toHaveProperty('lease.ended');
  });

  test('by a guardian that leaves is only of its own lease, and not over a true end', async () => {
    const unused = { ...ended, endedBy: 'notStopped', pausedMs: null } as const;
    endUnusedLease(file, facts.guardian.pid, unused);
    await writeLease(file, facts);
    endUnusedLease(file, 4711, unused);
    expect(await readLease(file)).not.toHaveProperty('lease.ended');
    endLease(file, facts.pause, ended);
    endUnusedLease(file, facts.guardian.pid, unused);
    expect(await readLease(file)).toMatchObject({ lease: { ended } });
  });
});

const noXfs = whyNoLoopMount('xfs');
if (noXfs) console.warn(`SKIPPED: the test of a lease in a power cut: ${noXfs}`);

test.skipIf(!canLoopMount('xfs'))(
  'a power cut after a lease was written, and its end noted, leaves the lease',
  async () => {
    const filesystem = await mountLoopFilesystem({ type: 'xfs', sizeMiB: 300 });
    try {
      const onXfs = leaseFile(filesystem.mountPoint, 'debian');
      await writeLease(onXfs, facts);
      endLease(onXfs, facts.pause, ended);
      // With the log flushed, renames are there after the cut; the data of what was not synced is not.
      await runTool('xfs_io', ['-x', '-c', 'shutdown -f', filesystem.mountPoint]);
      await runTool('umount', [filesystem.mountPoint]);
      await runTool('mount', ['-o', 'loop', '-t', 'xfs', filesystem.image, filesystem.mountPoint]);
      expect(await readLeases(filesystem.mountPoint)).toMatchObject([{ lease: { pause: 'job.1' } }]);
    } finally {
      await filesystem.remove();
    }
  },
);
