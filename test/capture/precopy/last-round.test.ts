import { readFileSync, utimesSync } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Follower } from '../../../src/capture/precopy/follower.js';
import { copyLastRound } from '../../../src/capture/precopy/last-round.js';
import { PrecopyDisk } from '../../../src/capture/precopy/precopy-disk.js';
import { DiskTrouble } from '../../../src/capture/precopy/precopy-words.js';
import type { WriteTracker } from '../../../src/capture/precopy/write-tracker.js';
import { withTempDir } from '../../support/temp-dir.js';

const sizeBytes = 300_000;

/** A disk of which nothing was copied yet, and all is marked. */
async function withDisk(use: (disk: PrecopyDisk, paths: { source: string; copy: string }) => Promise<void>) {
  await withTempDir(async (dir) => {
    const paths = { source: join(dir, 'source'), copy: join(dir, 'copy') };
    await writeFile(paths.source, Buffer.alloc(sizeBytes, 'what the guest wrote '));
    await writeFile(paths.copy, Buffer.alloc(sizeBytes));
    await using source = await open(paths.source, 'r');
    await using copy = await open(paths.copy, 'r+');
    const disk = new PrecopyDisk('ubd0', sizeBytes, source.fd, copy.fd, Buffer.alloc(2 ** 20));
    disk.blocks.mark(0, sizeBytes);
    await use(disk, paths);
  });
}

function lastRound(disk: PrecopyDisk, steps: Partial<WriteTracker>) {
  const facts = { events: 0, accountedBytes: 0 };
  const well = { facts, follow: () => null, settle: () => null, prove: () => null, close: () => {} };
  const follower = new Follower({ ...well, ...steps });
  try {
    return copyLastRound([disk], follower);
  } finally {
    follower.close();
  }
}

test('the last round is proven after its last byte was copied, not before', () =>
  withDisk(async (disk, { source, copy }) => {
    const prove = () => (readFileSync(source).equals(readFileSync(copy)) ? null : 'it is not copied yet');
    expect(lastRound(disk, { prove })).toMatchObject({ is: 'captured' });
  }));

test.each(['settle', 'prove'] as const)('a tracker that can’t %s makes the last round void', (step) =>
  withDisk(async (disk) => {
    const doubt = () => 'a write was missed';
    expect(lastRound(disk, { [step]: doubt })).toEqual({ is: 'doubtful', problem: 'a write was missed' });
  }),
);

test('a source that is written during the last round, unseen by the tracker, makes it void', () =>
  withDisk(async (disk, { source }) => {
    const prove = () => {
      utimesSync(source, 1, 1);
      return null;
    };
    expect(() => lastRound(disk, { prove })).toThrow(DiskTrouble);
  }));
