import type { MixedGroups } from '../image/cow-bitmap.js';
import { readCowHeader } from '../image/cow-file.js';
import { runImageWork } from '../image/image-thread.js';
import { type Finding, fine, trouble } from './finding.js';
import type { OpenDisks } from './open-disks.js';

/** What the bitmap of a COW disk says. */
export type CowLook = { device: string } & ({ mixed: MixedGroups } | { problem: string });

/**
 * Looks through the bitmap of each COW disk. The guest may run meanwhile: it writes data first and its bits to the file after them, so that
 * what is read lags by the requests under way. A group may be counted that is mixed for that moment only, or missed until the next look.
 */
export async function lookAtCow(disks: OpenDisks): Promise<CowLook[]> {
  const looks: CowLook[] = [];
  for (const { image, backing } of disks) {
    if (!backing) continue;
    const { device, handle } = image;
    const header = await readCowHeader(handle, backing.stamp.sizeBytes);
    if ('problem' in header) {
      looks.push({ device, problem: header.problem });
      continue;
    }
    const work = { kind: 'countMixedGroups', cowFd: handle.fd, layout: header.layout } as const;
    const { mixed } = await runImageWork(work);
    looks.push({ device, mixed: mixed ?? { count: 0, firstOffset: null } });
  }
  return looks;
}

/** Whether UML reads the COW disks of a guest right: it does not where sectors are mixed within 4 KiB (uml-facts, fact 15). */
export function checkCow(guest: string, looks: readonly CowLook[]): Finding {
  const about = { check: 'cow', about: guest } as const;
  const facts = { disks: looks };
  const unread = looks.flatMap((look) => ('problem' in look ? [`${look.device}: ${look.problem}`] : []));
  const mixed = looks.flatMap((look) => ('mixed' in look && look.mixed.count > 0 ? [toText(look)] : []));
  if (mixed.length > 0) {
    return trouble(about, {
      level: 'warning',
      what: `${[...mixed, ...unread].join('; ')}.`,
      means:
        'UML reads wrong data, without an error, in a request that goes on beyond such a group: what the guest reads is not always what it wrote. Snapshots of the two files are good.',
      mend: `Shut the guest down, make one raw image of the two files with \`uml_moo\` (\`umlsnap restore ${guest}@latest --merge --to DIR\` makes one of its last snapshot), boot it with that, and check its filesystems. COW disks need filesystems with blocks of 4 KiB at multiples of 4 KiB (\`mke2fs -b 4096\`).`,
      facts,
    });
  }
  if (unread.length > 0) {
    return trouble(about, {
      level: 'unknown',
      what: `${unread.join('; ')}.`,
      means: 'Whether UML reads its COW disks right could not be found out.',
      mend: 'Look whether the config names the COW file and its own backing file: `umlsnap discover` shows what the guest has.',
      facts,
    });
  }
  return fine(
    about,
    'No COW disk of it mixes COW file and backing file within 4 KiB: UML reads them right.',
    facts,
  );
}

function toText({ device, mixed }: { device: string; mixed: MixedGroups }): string {
  const groups = mixed.count === 1 ? '1 group of 4 KiB lies' : `${mixed.count} groups of 4 KiB lie`;
  return `${device}: ${groups} partly in the COW file and partly in the backing file, the first at byte ${mixed.firstOffset}`;
}
