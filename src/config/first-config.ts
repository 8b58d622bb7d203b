import { notifyField } from './fields.js';
import { schemaComment } from './json-schema-comment.js';
import { problemOfName } from './key-checks.js';

/** A guest that was found, as far as it belongs into a config. All text is printable. */
export interface FoundGuest {
  umid: string;
  /** How the config names its console: the umid, where that is enough. */
  mconsole: string;
  kernel: string | null;
  /** Why it can't be said more of it; null: it answers. */
  problem: string | null;
  disks: FoundDisk[];
  /** The socket that it notifies, by its command line; null: none. Of its user's choice. */
  notify: string | null;
}

export interface FoundDisk {
  device: string;
  path: string;
  backing: string | null;
  /** The guest's process has it open, by the host's word; a guest may say of its disks what it likes. */
  isConfirmed: boolean;
  /** Where its store could lie; undefined: there is no such file. */
  storePath: string | undefined;
}

/**
 * The text of a first config, with comments, for what was found on this host. What can't be known for sure stands there as a
 * comment, so that the config is one that `config check` finds in order.
 */
export function firstConfig(guests: readonly FoundGuest[], schemaPath: string): string {
  const stores = storesOf(guests);
  const names = namesOf(guests);
  return [
    schemaComment(schemaPath),
    '# Written by `umlsnap config init` from what runs on this host. Every key is explained in config.example.yaml.',
    '# Next: umlsnap config check; umlsnap doctor; umlsnap snapshot GUEST --dry-run',
    '',
    '# Where snapshots go. On the filesystem of the disks they share its blocks, where it has reflinks (XFS, btrfs). That',
    '# protects from mistakes and from a guest that breaks, not from a disk that dies: a second store elsewhere does.',
    ...sectionOf(
      'stores',
      [...stores].map(([path, name]) => `  ${name}: { type: directory, path: ${quoted(path)} }`),
    ),
    '',
    'defaults:',
    '  # Every night at 03:15; needs `umlsnap daemon` (docs/setup.md). Without this key: by hand only.',
    '  schedule: "15 3 * * *"',
    '  # Which snapshots are kept, when a new one has succeeded. Without this key: all.',
    '  keep: { last: 3, daily: 7, weekly: 4, monthly: 6 }',
    '  # The longest that a guest may stand still; one that takes longer is resumed, and the snapshot thrown away.',
    '  pauseBudget: 5s',
    '',
    ...sectionOf(
      'guests',
      guests.flatMap((guest, index) => linesOf(guest, names[index] ?? '', stores)),
    ),
    ...(guests.length === 0 ? nothingFound : []),
    '',
  ].join('\n');
}

const nothingFound = [
  '  # No UML was found. A guest looks like this:',
  '  # debian:',
  '  #   mconsole: debian             # its umid, or the path of its mconsole socket',
  '  #   disks: { ubd0: /srv/uml/debian/root.img }',
];

function sectionOf(title: string, lines: string[]): string[] {
  const isEmpty = lines.every((line) => /^\s*#/.test(line));
  return isEmpty ? [`${title}: {}`, ...lines] : [`${title}:`, ...lines];
}

/** By path, the name of each store: `local`, `local-2`, … */
function storesOf(guests: readonly FoundGuest[]): Map<string, string> {
  const stores = new Map<string, string>();
  for (const { storePath } of guests.filter(isWhole).flatMap(({ disks }) => disks.slice(0, 1))) {
    if (storePath === undefined || stores.has(storePath)) continue;
    stores.set(storePath, stores.size === 0 ? 'local' : `local-${stores.size + 1}`);
  }
  return stores;
}

/** Its disks are all known for sure: only then may it be backed up without a person's look at it. */
function isWhole({ problem, disks }: FoundGuest): boolean {
  const isKnown = ({ isConfirmed, storePath, path }: FoundDisk) =>
    isConfirmed && storePath !== undefined && !/[,:]/.test(path);
  return problem === null && disks.length > 0 && disks.every(isKnown);
}

function linesOf(guest: FoundGuest, name: string, stores: ReadonlyMap<string, string>): string[] {
  const { umid, mconsole, kernel, problem, disks, notify } = guest;
  const store = stores.get(disks[0]?.storePath ?? '');
  const body = [
    `  ${name}:`,
    `    mconsole: ${quoted(mconsole)}`,
    '    disks:',
    ...disks.map((disk) => `      ${disk.device}: ${diskText(disk)}`),
    ...(notifyField.safeParse(notify).success ? [`    notify: ${quoted(notify ?? '')}`] : []),
    ...(stores.size > 1 && store !== undefined ? [`    store: ${store}`] : []),
  ];
  if (isWhole(guest)) return [`  # ${kernel ?? umid}`, ...body];
  const why =
    problem ?? 'the host does not confirm that these are its disks: look at them before you take it in';
  return [
    `  # ${umid} was left out: ${why.replaceAll('\n', ' ')}`,
    ...body.map((line) => `  # ${line.slice(2)}`),
  ];
}

function diskText({ path, backing }: FoundDisk): string {
  return backing === null ? quoted(path) : `{ path: ${quoted(path)}, backing: ${quoted(backing)} }`;
}

/** Umids may hold what names of a config may not, and two guests of two users may have the same. */
function namesOf(guests: readonly FoundGuest[]): string[] {
  const taken = new Set<string>();
  return guests.map(({ umid }) => {
    const plain = umid
      .replace(/[^A-Za-z0-9_-]/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '')
      .slice(0, 60);
    const base = problemOfName(plain) === null ? plain : 'guest';
    let name = base;
    for (let number = 2; taken.has(name); number++) name = `${base}-${number}`;
    taken.add(name);
    return name;
  });
}

/** JSON's strings are YAML's as well; a plain path needs no quotes. */
function quoted(text: string): string {
  return /^[A-Za-z0-9_./][A-Za-z0-9_./@+=-]*$/.test(text) && /[A-Za-z/]/.test(text) && !reserved.test(text)
    ? text
    : JSON.stringify(text);
}

/** What YAML would take for something else than text. */
const reserved = /^(?:true|false|null|yes|no|on|off|~|\.inf|\.nan|[\d.+-][\d_.eExXoO+-]*)$/i;
