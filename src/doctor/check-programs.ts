import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { searchPath } from '../child-environment.js';
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

function isInstalled(name: string, path: string): boolean {
  return path.split(':').some((directory) => {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
