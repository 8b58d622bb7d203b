import { readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { HeldRest } from '../../../src/capture/precopy/held-rest.js';
import { Precopy } from '../../../src/capture/precopy/precopy.js';
import { PrecopyDisk } from '../../../src/capture/precopy/precopy-disk.js';
import type { WriteTracker } from '../../../src/capture/precopy/write-tracker.js';
import { withTempDir } from '../../support/temp-dir.js';
import { failure } from '../failure.js';

const sizeBytes = 300_000;

/** A disk of which nothing was copied yet. */
async function withDisk(use: (disk: PrecopyDisk, paths: { source: string; copy: string }) => Promise<void>) {
  await withTempDir(async (dir) => {
    const paths = { source: join(dir, 'source'), copy: join(dir, 'copy') };
    await writeFile(paths.source, Buffer.alloc(sizeBytes, 'what the guest wrote '));
    await writeFile(paths.copy, Buffer.alloc(sizeBytes));
    await using source = await open(paths.source, 'r');
    await using copy = await open(paths.copy, 'r+');
    const disk = new PrecopyDisk(
      { guest: 'debian', device: 'ubd0', sizeBytes, sourceFd: source.fd, targetFd: copy.fd },
      Buffer.alloc(2 ** 20),
    );
    await use(disk, paths);
  });
}

/** Copies it, has all of it marked once more, and what came of the pause. */
async function lastRound(disk: PrecopyDisk, source: string, steps: Partial<WriteTracker>) {
  const facts = { events: 0, accountedBytes: 0 };
  const well = {
    facts,
    follow: () => null,
    settle: () => null,
    prove: () => null,
    confirm: () => null,
    close: () => {},
  };
  const precopy = new Precopy({
    ...{ guest: 'debian', disks: [disk], sharesBlocks: false, bytesPerSecond: null, pauseTargetMs: 5 },
    ...{ trackerProblem: null, mayDoWithout: false, startTracker: async () => ({ ...well, ...steps }) },
  });
  try {
    await precopy.arm();
    await writeFile(source, Buffer.alloc(sizeBytes, 'and what it wrote then '), { flag: 'r+' });
    disk.blocks.mark(0, sizeBytes);
    precopy.takeRest();
    precopy.prove();
    return precopy.finish();
  } finally {
    precopy.end();
  }
}

test('what the guest wrote last is marked before the marks are taken, and is in the copy', () =>
  withDisk(async (disk, { source, copy }) => {
    const settle = () => {
      writeFileSync(source, Buffer.alloc(sizeBytes, 'its very last '), { flag: 'r+' });
      disk.blocks.mark(0, sizeBytes);
      return null;
    };
    expect([...(await lastRound(disk, source, { settle })).keys()]).toEqual(['ubd0']);
    expect(readFileSync(copy).equals(readFileSync(source))).toBe(true);
    expect(readFileSync(copy).toString()).toMatch(/^its very last /);
  }));

test.each(['settle', 'prove', 'confirm'] as const)(
  'a tracker that can’t %s makes the last round void',
  (step) =>
    withDisk(async (disk, { source }) => {
      const doubt = () => 'a write was missed';
      expect(await failure('TrackingLost', lastRound(disk, source, { [step]: doubt }))).toBe(
        'a write was missed',
      );
    }),
);

test('a source that is written during the last round, unseen by the tracker, makes it void', () =>
  withDisk(async (disk, { source }) => {
    const prove = () => {
      utimesSync(source, 1, 1);
      return null;
    };
    expect(await failure('SourceChanged', lastRound(disk, source, { prove }))).toMatch(/written/);
  }));

test('what was held of a pause whose tracking was lost does not come over what the next one captures', () =>
  withDisk(async (disk, { source, copy }) => {
    const facts = { events: 0, accountedBytes: 0 };
    const doubtful = {
      facts,
      follow: () => null,
      settle: () => null,
      prove: () => 'a write was missed',
      confirm: () => null,
    };
    const precopy = new Precopy({
      ...{ guest: 'debian', disks: [disk], sharesBlocks: false, bytesPerSecond: null, pauseTargetMs: 5 },
      ...{ trackerProblem: null, mayDoWithout: true },
      startTracker: async () => ({ ...doubtful, close: () => {} }),
    });
    try {
      await precopy.arm();
      disk.blocks.mark(0, sizeBytes);
      precopy.takeAhead();
      disk.blocks.mark(0, sizeBytes);
      precopy.takeRest();
      expect(() => precopy.prove()).toThrow(/a write was missed/);
      await writeFile(source, Buffer.alloc(sizeBytes, 'what came later '), { flag: 'r+' });
      await precopy.catchUp(null);
      precopy.takeRest();
      precopy.prove();
      expect([...precopy.finish().keys()]).toEqual(['ubd0']);
      expect(readFileSync(copy).equals(readFileSync(source))).toBe(true);
    } finally {
      precopy.end();
    }
  }));

test('what is read once more, for which there is no room, is what the copy has in the end', () =>
  withDisk(async (disk, { source, copy }) => {
    const rest = new HeldRest(sizeBytes + 4096);
    for (const text of ['what it wrote first ', 'and what it wrote then ']) {
      await writeFile(source, Buffer.alloc(sizeBytes, text), { flag: 'r+' });
      disk.blocks.mark(0, sizeBytes);
      disk.holdMarked(rest);
    }
    rest.writeOut();
    expect(readFileSync(copy).equals(readFileSync(source))).toBe(true);
  }));

test('a pause that was let go before anything was taken says nothing of a proof, where nothing is traced', () =>
  withDisk(async (disk) => {
    const precopy = new Precopy({
      ...{ guest: 'debian', disks: [disk], sharesBlocks: false, bytesPerSecond: null, pauseTargetMs: 5 },
      ...{ trackerProblem: null, mayDoWithout: true, startTracker: null },
    });
    await precopy.arm();
    precopy.finish();
    await precopy.catchUp(null);
    precopy.takeRest();
    precopy.prove();
    expect([...precopy.finish().keys()]).toEqual(['ubd0']);
    expect(precopy.facts).toMatchObject({ tracker: 'compared', proof: null });
  }));
