import type { exitCodes } from '../exit-codes.js';

/** What the manual says beyond what commander knows. */

export interface ManualSection {
  title: string;
  paragraphs: string[];
  items?: [string, string][];
}

export const exitText: Record<keyof typeof exitCodes, string> = {
  done: 'Done.',
  failed: 'Failed. The guest runs, or the message says what it does.',
  usage: 'The command line or the config is wrong. Nothing was touched.',
  warnings: 'Done, with warnings.',
  noSuchThing: 'There is no such guest, snapshot, job or store.',
  busy: 'Somebody else works on it, or it is locked.',
  pinned: 'The snapshot is pinned, and `remove` was not given --force.',
  lastSound: "The snapshot is its guest's last sound one, and `remove` was not given --force.",
  guestMayBePaused: 'A guest may still be paused. Run `umlsnap recover`.',
  skipped: 'Not done now: the daemon keeps all snapshots, does not listen, or has enough to do.',
  interrupted: 'Interrupted. What was begun was undone.',
};

interface ManualText {
  description: string[];
  commands: string[];
  before: ManualSection[];
  pluginStatus: string[];
  after: ManualSection[];
}

export const manualSections: ManualText = {
  description: [
    'umlsnap backs up running User-Mode Linux (UML) guests. It talks to the management console (mconsole) of a guest, has the guest write what it holds, stops it, captures its disks, lets it go, and records each of these steps in a history.',
    'A guardian, a process of its own, watches over every pause. It resumes the guest at the end of the budget for the pause, and when umlsnap is killed, hangs or is stopped. What is left after all is resumed by `umlsnap recover`, and by every command as it starts.',
    'A snapshot is a directory of plain files: a manifest, and the images of the disks. Its name is `GUEST@TIME`, in UTC, such as debian@20261121T031500Z; `GUEST@latest` is the newest sound one.',
    'For people there are tables and sentences on stdout, progress and warnings on stderr. With `--json` there is one JSON object a line on stdout, each with a type.',
  ],
  commands: ['Each command tells its options with `--help`.'],
  before: [
    {
      title: 'ENVIRONMENT',
      paragraphs: [],
      items: [
        ['UMLSNAP_CONFIG', 'The config file, if no `-c` names one.'],
        ['HOME', 'Where umids are looked for: ~/.uml/UMID/mconsole.'],
        ['NOTIFY_SOCKET, WATCHDOG_USEC', 'Set by systemd for the daemon; see sd_notify(3).'],
      ],
    },
    {
      title: 'FILES',
      paragraphs: [],
      items: [
        ['~/.config/umlsnap/config.yaml', "The user's config, looked for first."],
        ['/etc/umlsnap/config.yaml', "The system's config."],
        [
          '/var/lib/umlsnap, ~/.local/state/umlsnap',
          'The state directory, of root and of others: history.db, leases, locks, sockets.',
        ],
        [
          'STORE/GUEST/TIME/manifest.json',
          "What a snapshot is, with the checksums of its disks' images beside it.",
        ],
      ],
    },
  ],
  pluginStatus: [
    '`umlsnap doctor --nagios` exits as plugins of Nagios and Icinga do: 0 ok, 1 warning, 2 critical, 3 unknown.',
  ],
  after: [
    {
      title: 'EXAMPLES',
      paragraphs: [],
      items: [
        [
          'umlsnap config init --write /etc/umlsnap/config.yaml',
          'A first config, for the guests that run here.',
        ],
        ['umlsnap doctor', 'Will backups work here, and what is in their way?'],
        ['umlsnap snapshot debian --dry-run', 'Checks everything, and does not touch the guest.'],
        ['umlsnap snapshot debian', 'One backup, now.'],
        ['umlsnap restore debian@latest --to /tmp/restored', 'Its disks, checked while they are copied.'],
        ['umlsnap mconsole debian', 'The console of a guest, as uml_mconsole(1).'],
      ],
    },
    {
      title: 'SEE ALSO',
      paragraphs: [
        'uml_mconsole(1), systemd.service(5), sd_notify(3), and the pages in docs/ of the source.',
      ],
    },
  ],
};
