import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { CaptureFacts } from '../../src/capture/capture.js';
import { rawClean } from '../support/inspect-image.js';
import { roundsOr, tellCampaign } from '../support/rounds.js';
import { runTool } from '../support/run-tool.js';
import { resultOf, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/**
 * Like a database: two files that carry the same number while it holds still, and that a hook makes hold still. It waits
 * between the two, so that an image of any other moment shows them apart more often than not. It says for which job it holds
 * still: what it said of the one before, a moment too late, must not pass for this one's.
 */
const database = [
  'mkdir -p /data/db /etc/umlsnap/freeze.d /etc/umlsnap/thaw.d',
  String.raw`printf '#!/bin/busybox sh\necho $UMLSNAP_JOB > /tmp/hold; until cmp -s /tmp/hold /tmp/held; do read -t 0.01 _ <> /tmp/never; done; echo $UMLSNAP_JOB $UMLSNAP_DEADLINE > /tmp/job\n' > /etc/umlsnap/freeze.d/10-db`,
  String.raw`printf '#!/bin/sh\nrm -f /tmp/hold /tmp/held; echo $UMLSNAP_JOB > /tmp/thawed\n' > /etc/umlsnap/thaw.d/10-db`,
  'chmod +x /etc/umlsnap/*/*',
  '(i=0; while :; do while [ -e /tmp/hold ]; do cp /tmp/hold /tmp/held 2>/dev/null; nap 0.01; done; i=$((i + 1)); echo $i > /data/db/first; nap 0.1; echo $i > /data/db/second; done) &',
];

describe.each(['busybox', 'dash'] as const)('frozen snapshots of a guest whose shell is %s', (shell) => {
  const scene = setScene({
    ...{ on: 'xfs', notify: true, settings: { require: 'frozen', freezeTimeout: '60s' } },
    guest: {
      ...{ agent: shell, rc: database, disks: [{ sizeMiB: 16 }] },
      // The load is the same to either shell: one guest at full speed is enough.
      writer: shell === 'busybox' ? 'heavy' : 'lines',
    },
  });
  afterEach(() => scene.expectWell());

  /** The number of its last line, once that is beyond `least`. */
  const written = (least: number) =>
    waitFor('the guest to write on', async () => {
      const last = Number((await scene.guest.sh('tail -n 1 /data/log')).replace('line ', ''));
      return last > least && last;
    });

  test('need no journal replay, show the database at rest, and hold every line written before the freeze', async () => {
    for (let round = 0; round < roundsOr(2); round++) {
      const before = await written(10);
      const { exitCode, stderr, summary } = await scene.snapshot();
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
      expect(summary).toMatchObject({ consistency: 'frozen', dirtyKib: 0, warnings: [] });
      expect(await scene.guest.sh('cat /tmp/job')).toMatch(new RegExp(`^${summary.job} \\d+$`));
      expect(await scene.guest.sh('cat /tmp/thawed')).toBe(summary.job);
      await expectAtRest(summary.snapshot, before);
      await written(await written(before));
      tellCampaign({ [`by ${shell}`]: 1 });
    }
  });

  // Of the agent it wants what any other snapshot does: one shell is enough.
  if (shell === 'busybox')
    test('by precopy are as good, and the freeze begins when the guest has been copied but for a rest', async () => {
      const before = await written(10);
      const result = await scene.startSnapshot('--capture', 'precopy').exited;
      const { summary, stderr } = resultOf(result);
      // A guest at full speed may have a warning that it could not be kept up with.
      expect(summary, stderr).toMatchObject({ method: 'precopy', consistency: 'frozen', error: null });
      const { precopiedBytes, pausedBytes } = summary.precopy as CaptureFacts;
      // The disk's files that nobody writes are most of it.
      expect(pausedBytes).toBeLessThan(precopiedBytes / 2);
      const told = result.json.filter(({ type }) => type === 'progress').map(({ phase }) => phase);
      expect(told.indexOf('precopy')).toBeLessThan(told.indexOf('sync'));
      const factsOf = (name: string) => summary.phases.findLast(({ phase }) => phase === name)?.facts;
      expect(factsOf('freeze')).toMatchObject({ filesystems: expect.any(Array) });
      expect(factsOf('thaw')).toMatchObject({ thawed: 'held' });
      await expectAtRest(summary.snapshot, before);
    });

  /** Its images are read as they lie there, without a replay. */
  async function expectAtRest(snapshot: string | null, least: number): Promise<void> {
    const [root, further] = ['ubd0.img', 'ubd1.img'].map((disk) => join(scene.directoryOf(snapshot), disk));
    for (const image of [root, further]) expect(await rawClean(`${image}`)).toMatchObject({ clean: true });
    const textOf = async (path: string) => `${await runTool('debugfs', ['-R', `cat ${path}`, `${root}`])}`;
    const lines = (await textOf('/data/log')).trimEnd().split('\n');
    expect(lines).toEqual(lines.map((_, index) => `line ${index + 1}`));
    expect(lines.length).toBeGreaterThanOrEqual(least);
    const first = await textOf('/data/db/first');
    expect(first).toMatch(/^\d+\n$/);
    expect(await textOf('/data/db/second')).toBe(first);
  }
});
