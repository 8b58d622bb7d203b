import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PrecopyFacts } from '../../src/capture/precopy/precopy-order.js';
import { rawClean, readFileFromImage } from '../support/inspect-image.js';
import type { RealGuest } from '../support/real-guest.js';
import { roundsOr } from '../support/rounds.js';
import { settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** Snapshots of guests with umlsnap's agent, under a load that never stops. */

/**
 * Like a database: two files that carry the same number while it holds still, and that a hook makes hold still. It waits
 * between the two, so that an image of any other moment shows them apart more often than not.
 */
const database = [
  'mkdir -p /data/db /etc/umlsnap/freeze.d /etc/umlsnap/thaw.d',
  String.raw`printf '#!/bin/sh\ntouch /tmp/hold; while ! [ -e /tmp/held ]; do sleep 0.01; done; echo $UMLSNAP_JOB $UMLSNAP_DEADLINE > /tmp/job\n' > /etc/umlsnap/freeze.d/10-db`,
  String.raw`printf '#!/bin/sh\nrm -f /tmp/hold /tmp/held; echo $UMLSNAP_JOB > /tmp/thawed\n' > /etc/umlsnap/thaw.d/10-db`,
  'chmod +x /etc/umlsnap/*/*',
  '(i=0; while :; do while [ -e /tmp/hold ]; do touch /tmp/held; sleep 0.01; done; i=$((i + 1)); echo $i > /data/db/first; sleep 0.1; echo $i > /data/db/second; done) &',
];

const rounds = roundsOr(10);

describe.each(['busybox', 'dash'] as const)('frozen snapshots of a guest whose shell is %s', (shell) => {
  let house: TestHouse;
  let guest: RealGuest;
  beforeAll(async () => {
    house = await TestHouse.build();
    const notify = join(house.dir, 'n.sock');
    const disks = [{ sizeMiB: 16 }];
    guest = await house.boot({
      agent: shell,
      notifySocket: notify,
      rc: [...ticker, ...database],
      writer: 'heavy',
      disks,
    });
    await house.configure({ one: settingsOf(guest, { notify }) });
    await waitFor('the first lines', async () => (await lastLine()) > 10);
  });
  afterAll(() => house.remove());

  const lastLine = async () => Number((await guest.sh('tail -n 1 /data/log')).replace('line ', '') || 0);

  test('need no journal replay, show the database at rest, and hold every line written before the freeze', async () => {
    const frozenMs: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const written = await lastLine();
      const { exitCode, stderr, json } = await takeFrozen('auto');
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
      const summary = json.find(({ type }) => type === 'summary') ?? {};
      expect(summary).toMatchObject({ consistency: 'frozen', dirtyKib: 0, warnings: [] });
      expect(await guest.sh('cat /tmp/job')).toMatch(new RegExp(`^${summary.job} \\d+$`));
      expect(await guest.sh('cat /tmp/thawed')).toBe(summary.job);
      await checkImages(String(summary.snapshot), written);
      const phases = summary.phases as { phase: string; facts: { frozenMs?: number } }[];
      frozenMs.push(phases.find(({ phase }) => phase === 'thaw')?.facts.frozenMs ?? Number.NaN);
    }
    frozenMs.sort((a, b) => a - b);
    console.log(
      `${rounds} of ${rounds} frozen; frozen for ${frozenMs[rounds >> 1]} ms in the median, ${frozenMs.at(-1)} ms at most`,
    );
  });

  const takeFrozen = (capture: string) =>
    house.run(['--json', 'snapshot', 'one', '--require', 'frozen', '--capture', capture]);

  test('by precopy are as good, and the freeze begins when the guest has been copied but for a rest', async () => {
    const written = await lastLine();
    const { json, stderr } = await takeFrozen('precopy');
    const summary = json.find(({ type }) => type === 'summary') ?? {};
    // A guest at full speed may have a warning that it could not be kept up with.
    expect(summary, stderr).toMatchObject({ method: 'precopy', consistency: 'frozen', error: null });
    const { precopiedBytes, pausedBytes } = summary.precopy as PrecopyFacts;
    // The disk's files that nobody writes are most of it.
    expect(pausedBytes).toBeLessThan(precopiedBytes / 2);
    const told = json.filter(({ type }) => type === 'progress').map(({ phase }) => phase);
    expect(told.indexOf('precopy')).toBeLessThan(told.indexOf('quiesce'));
    const phases = summary.phases as { phase: string; facts: Record<string, unknown> }[];
    const factsOf = (name: string) => phases.findLast(({ phase }) => phase === name)?.facts;
    expect(factsOf('quiesce')).toMatchObject({ filesystems: expect.any(Array) });
    expect(factsOf('thaw')).toMatchObject({ thawed: 'held' });
    await checkImages(String(summary.snapshot), written);
  });

  async function checkImages(snapshot: string, written: number): Promise<void> {
    const directory = join(house.store, 'one', snapshot.replace('one@', ''));
    for (const disk of ['ubd0.img', 'ubd1.img']) {
      expect(await rawClean(join(directory, disk))).toMatchObject({ clean: true });
    }
    const image = join(directory, 'ubd0.img');
    const textOf = async (path: string) => (await readFileFromImage(image, path))?.toString() ?? '';
    const lines = (await textOf('/data/log')).trimEnd().split('\n');
    expect(lines).toEqual(lines.map((_, index) => `line ${index + 1}`));
    expect(lines.length).toBeGreaterThanOrEqual(written);
    const first = await textOf('/data/db/first');
    expect(first).toMatch(/^\d+\n$/);
    expect(await textOf('/data/db/second')).toBe(first);
  }

  test('leave everything as it was: the guest writes on, and no lease is left', async () => {
    const before = await lastLine();
    await waitFor('the guest to write on', async () => (await lastLine()) > before);
    await house.expectAllWell();
    expect(await house.freezes()).toEqual([]);
  });
});

/** As `TestHouse.boot` has it by itself. */
const ticker = ['(i=0; while :; do i=$((i + 1)); echo $i > /tmp/ticks; nap 0.05; done) &'];
