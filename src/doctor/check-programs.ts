import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';
import { searchPath } from '../child-environment.js';
import { sendmail } from '../alerts/send-alert.js';
import type { Config } from '../config/config.js';
import { type Finding, fine, trouble } from './finding.js';

const about = { check: 'programs', about: null } as const;

interface Program {
  name: string;
  /** Of Debian. */
  package: string;
  /** What does not work without it. */
  feature: string;
  /** Whether this config can't do without it. */
  isNeeded(config: Config): boolean;
}

/** A store's type, also one that this umlsnap does not have yet. */
const hasStoreOfType = (config: Config, type: string) =>
  Object.values(config.stores).some((store: { type: string }) => store.type === type);

const programs: Program[] = [
  {
    ...{ name: 'restic', package: 'restic', feature: 'stores of type restic' },
    isNeeded: (config) => hasStoreOfType(config, 'restic'),
  },
  {
    ...{ name: 'zstd', package: 'zstd', feature: 'stores of type tar, unless they have another compression' },
    isNeeded: (config) =>
      Object.values(config.stores).some(
        (store: { type: string; compression?: string }) =>
          store.type === 'tar' && store.compression === 'zstd',
      ),
  },
  {
    ...{ name: 'e2fsck', package: 'e2fsprogs', feature: "a check of a snapshot's ext filesystems" },
    isNeeded: () => false,
  },
  {
    ...{ name: 'debugfs', package: 'e2fsprogs', feature: 'files out of a snapshot' },
    isNeeded: () => false,
  },
  {
    ...{
      name: 'bwrap',
      package: 'bubblewrap',
      feature: 'drills, files out of a snapshot, a box for checkers',
    },
    isNeeded: () => false,
  },
  {
    ...{ name: 'linux.uml', package: 'user-mode-linux', feature: 'drills, which boot a snapshot' },
    isNeeded: () => false,
  },
];

/** A program that the config names, and where. */
interface NamedProgram {
  key: string;
  program: string;
  /** Otherwise nobody is told of what happens to them, or what comes after them is left out. */
  failsBackups: boolean;
}

function namedPrograms({ guests, stores, alerts }: Config): NamedProgram[] {
  const named = (key: string, argv: readonly string[] | null | undefined, failsBackups: boolean) => {
    const [program] = argv ?? [];
    return program === undefined ? [] : [{ key, program, failsBackups }];
  };
  return [
    ...Object.values(guests).flatMap(({ name, hooks }) =>
      (['before', 'after', 'failed'] as const).flatMap((hook) =>
        named(`guests.${name}.hooks.${hook}`, hooks[hook], hook === 'before'),
      ),
    ),
    ...Object.values(stores).flatMap((store) =>
      store.type === 'restic'
        ? named(`stores.${store.name}.passwordCommand`, store.passwordCommand, true)
        : [],
    ),
    ...alerts.flatMap((alert, at) => {
      if (alert.by === 'command') return named(`alerts.${at}.command`, alert.command, false);
      return alert.by === 'mail' ? named(`alerts.${at}.mailbox`, [sendmail], false) : [];
    }),
  ];
}

/** The programs that features call: one that this config needs must be there. */
export function checkPrograms(config: Config, path = searchPath()): Finding {
  const missing = programs.filter(({ name }) => !isInstalled(name, path));
  const needed = missing.filter((program) => program.isNeeded(config));
  const facts = { missing: missing.map(({ name }) => name), needed: needed.map(({ name }) => name) };
  const list = (some: Program[]) => some.map(({ name, feature }) => `${name} (for ${feature})`).join(', ');
  if (needed.length > 0) {
    return trouble(about, {
      level: 'critical',
      what: `Not installed: ${list(needed)}.`,
      means: 'What this config asks for fails without it.',
      mend: `apt install ${[...new Set(needed.map((program) => program.package))].join(' ')}`,
      facts,
    });
  }
  if (missing.length === 0) return fine(about, 'All programs that features call are installed.', facts);
  return fine(about, `Not installed, and not needed by this config: ${list(missing)}.`, facts);
}

/** The programs of `hooks`, `alerts` and `passwordCommand`. */
export function checkNamedPrograms(config: Config, path = searchPath()): Finding {
  const named = namedPrograms(config);
  const missing = named.filter(({ program }) => !isInstalled(program, path));
  const facts = { missing: missing.map(({ key, program }) => ({ key, program })) };
  if (named.length === 0) return fine(about, 'The config names no programs of its own.', facts);
  if (missing.length === 0) return fine(about, 'All programs that the config names are there.', facts);
  const failsBackups = missing.some((one) => one.failsBackups);
  const list = missing.map(({ key, program }) => `${program} (${key})`).join(', ');
  return trouble(about, {
    level: failsBackups ? 'critical' : 'warning',
    what: `The config names what is no program here: ${list}.`,
    means: failsBackups
      ? 'Backups that begin with it fail.'
      : 'Backups run, and what it is to do, or to tell, is left out.',
    mend: 'Install it, make it executable, or put its path into the config.',
    facts,
  });
}

/** As it would be found when it is run: by its path, or on ours. */
function isInstalled(program: string, path: string): boolean {
  const places = program.includes('/') ? [program] : path.split(':').map((place) => join(place, program));
  return places.some((place) => {
    try {
      accessSync(place, constants.X_OK);
      return statSync(place).isFile();
    } catch {
      return false;
    }
  });
}
