import { beforeAll, describe, expect, test } from 'vitest';
import { canTrace } from '../capture/traced.js';
import { withTempDir } from '../support/temp-dir.js';
import { lastingCallsOf } from '../support/traced-calls.js';

/**
 * What outlasts a power cut is decided by the order of a few system calls, and a cut that comes just where one of them is missing is
 * rare. So each step is taken once, in a process of its own, and the kernel's word of what it did is held against the rule
 * that the code names.
 */

const why = (await canTrace()) ? undefined : 'strace is missing or may not trace';
if (why !== undefined) console.warn(`SKIPPED: the order of the calls that make things durable: ${why}`);

let steps: Map<string, string[]>;

describe.skipIf(why !== undefined)('in the order of its calls', () => {
  beforeAll(async () => {
    const script = new URL('./lasting-steps-child.ts', import.meta.url);
    const calls = await withTempDir((dir) => lastingCallsOf(script, [dir], dir));
    steps = new Map();
    let current = '';
    for (const call of calls) {
      const begun = /^mkdir step\/(.*)$/.exec(call)?.[1];
      if (begun === undefined) steps.get(current)?.push(call);
      else steps.set(begun, []);
      current = begun ?? current;
    }
    expect([...steps.keys()].at(-1)).toBe('end');
  });

  const taken = '20261121T031500Z';
  const incoming = 'store/debian/.incoming-job-1';

  test.each<[rule: string, step: string, calls: string[]]>([
    [
      'a lease is durable, its text, its name and its directory, before anybody is stopped',
      'lease',
      [
        'mkdir state',
        'mkdir state/leases',
        'fsync state',
        'fsync .',
        'fsync state/leases/debian.json.new',
        'rename state/leases/debian.json.new state/leases/debian.json',
        'fsync state/leases',
      ],
    ],
    [
      'the note that a pause is over waits for no disk, and never takes the place of the lease',
      'lease-end',
      ['rename state/leases/debian.json.ended.new state/leases/debian.json.ended'],
    ],
    [
      'a lease goes before the note of its end: without it, whoever comes between sends a go',
      'lease-drop',
      ['unlink state/leases/debian.json', 'unlink state/leases/debian.json.ended'],
    ],
    [
      'a store is marked as one before it is used, and never over another`s mark',
      'prepare',
      [
        'mkdir store',
        'fsync .',
        'fsync store/.umlsnap-store.*',
        'link store/.umlsnap-store.* store/.umlsnap-store',
        'unlink store/.umlsnap-store.*',
        'fsync store',
      ],
    ],
    [
      'a guest has its part of the store, durably, before anything is written there',
      'begin',
      ['mkdir store/debian', 'fsync store', `mkdir ${incoming}`],
    ],
    [
      'a backing file is durable, its times too, before a manifest speaks of it',
      'backing',
      [
        'mkdir store/.backing',
        'fsync store',
        `utimensat ${incoming}/backing-ubd1`,
        `fsync ${incoming}/backing-ubd1`,
        `rename ${incoming}/backing-ubd1 store/.backing/SHA256.img`,
        'fsync store/.backing',
      ],
    ],
    [
      'disks, manifest and their names are durable before a snapshot has its own, and that before it is told of',
      'seal',
      [
        `fsync ${incoming}/ubd0.img`,
        `fsync ${incoming}/ubd1.cow`,
        `fsync ${incoming}/manifest.json`,
        `fsync ${incoming}`,
        `rename ${incoming} store/debian/${taken}`,
        'fsync store/debian',
      ],
    ],
    [
      'a pin is wholly the old manifest or wholly the new one',
      'pin',
      [
        `fsync store/debian/${taken}/manifest.json.*`,
        `rename store/debian/${taken}/manifest.json.* store/debian/${taken}/manifest.json`,
        `fsync store/debian/${taken}`,
      ],
    ],
    [
      'an archive is durable before it has its name, and that before it is told of',
      'archive',
      [
        'mkdir archives/debian',
        'fsync archives',
        'fsync archives/debian/.incoming-*',
        'fsync archives/debian/.incoming-*',
        `rename archives/debian/.incoming-* archives/debian/${taken}.tar`,
        'fsync archives/debian',
      ],
    ],
    ['the mark of a pinned archive is durable', 'archive-pin', ['fsync archives/debian']],
    [
      'an archive is in the trash, durably, before its pin goes',
      'archive-trash',
      [
        'mkdir archives/.trash',
        'fsync archives',
        `rename archives/debian/${taken}.tar archives/.trash/debian@${taken}.*`,
        'fsync archives/.trash',
        'fsync archives/debian',
        `unlink archives/debian/${taken}.pinned`,
      ],
    ],
    [
      'a removed snapshot is durably in the trash and durably out of the list, before the history says that it is gone',
      'trash',
      [
        'mkdir store/.trash',
        'fsync store',
        `rename store/debian/${taken} store/.trash/debian@${taken}.*`,
        'fsync store/.trash',
        'fsync store/debian',
      ],
    ],
    [
      'a restore in place names the old disk durably before the new one takes its name, and removes it only when that is durable',
      'restore',
      [
        ...['fchmod', 'utimensat', 'fsync'].map((call) => `${call} disks/base.img.umlsnap-restore-*`),
        ...['fchown', 'fchmod', 'fsync'].map((call) => `${call} disks/root.img.umlsnap-restore-*`),
        ...['fchown', 'fchmod', 'fsync'].map((call) => `${call} disks/data.cow.umlsnap-restore-*`),
        ...['fchmod', 'fsync'].map((call) => `${call} disks/lost.img.umlsnap-restore-*`),
        ...['rename disks/base.img.umlsnap-restore-* disks/base.img', 'fsync disks'],
        ...replacing('root.img'),
        ...replacing('data.cow'),
        ...['rename disks/lost.img.umlsnap-restore-* disks/lost.img', 'fsync disks'],
        ...[`unlink disks/root.img.before-restore-${taken}`, 'fsync disks'],
        ...[`unlink disks/data.cow.before-restore-${taken}`, 'fsync disks'],
      ],
    ],
    [
      'a restore to a new directory is all there, durably, when it is told of',
      'restore-new',
      [
        'mkdir new',
        'mkdir new/er',
        'fsync new',
        'fsync .',
        ...['fchmod', 'fsync'].map((call) => `${call} new/er/ubd0.img.umlsnap-restore-*`),
        ...['fchmod', 'fsync'].map((call) => `${call} new/er/ubd1.cow.umlsnap-restore-*`),
        ...['fchmod', 'utimensat', 'fsync'].map((call) => `${call} new/er/base.img.umlsnap-restore-*`),
        ...['fchmod', 'fsync'].map((call) => `${call} new/er/ubd2.img.umlsnap-restore-*`),
        ...['ubd0.img', 'ubd1.cow', 'base.img', 'ubd2.img'].map(
          (file) => `rename new/er/${file}.umlsnap-restore-* new/er/${file}`,
        ),
        'fsync new/er',
      ],
    ],
  ])('%s', (_, step, calls) => {
    expect(steps.get(step)).toEqual(calls);
  });

  function replacing(disk: string): string[] {
    return [
      `link disks/${disk} disks/${disk}.before-restore-${taken}`,
      'fsync disks',
      `rename disks/${disk}.umlsnap-restore-* disks/${disk}`,
      'fsync disks',
    ];
  }

  test('the files of a removed snapshot are deleted in the trash, and nowhere else', () => {
    const deleted = steps.get('trash-empty')?.toSorted() ?? [];
    const trashed = `unlink store/.trash/debian@${taken}.*`;
    expect(deleted).toEqual(['manifest.json', 'ubd0.img', 'ubd1.cow'].map((file) => `${trashed}/${file}`));
  });
});
