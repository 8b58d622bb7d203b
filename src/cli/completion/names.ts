import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { findConfigFile } from '../../config/find-config-file.js';
import { entriesOf, isPlainObject } from '../../config/report.js';
import { readYamlFile } from '../../config/yaml-file.js';
import { UmlsnapError } from '../../errors.js';
import { isGuestDirectory } from '../../store/layout.js';

export const nameKinds = ['guests', 'snapshots', 'stores'] as const;
export type NameKind = (typeof nameKinds)[number];

/**
 * Names for a shell that waits for them at a TAB: from the config as it is written, and by a look into its directory stores.
 * Nothing is checked, opened or recovered; what can't be read has no names.
 */
export async function namesFor(kind: NameKind, configFile: string | undefined): Promise<string[]> {
  const config = await rawConfig(configFile);
  const guests = entriesOf(config.guests).map(([name]) => name);
  if (kind === 'guests') return guests;
  const stores = entriesOf(config.stores);
  if (kind === 'stores') return stores.map(([name]) => name);
  const directories = stores.flatMap(([, store]) =>
    isPlainObject(store) && typeof store.path === 'string' ? [store.path] : [],
  );
  const snapshots = directories.flatMap((directory) => snapshotsIn(directory));
  const withOne = new Set(snapshots.map((name) => name.replace(/@.*/, '@latest')));
  return [...withOne, ...[...new Set(snapshots)].sort().reverse()];
}

async function rawConfig(configFile: string | undefined): Promise<Record<string, unknown>> {
  try {
    const { value } = await readYamlFile(await findConfigFile(configFile));
    return isPlainObject(value) ? value : {};
  } catch (error) {
    // Whoever runs the command itself is told what is wrong with it.
    if (error instanceof UmlsnapError) return {};
    throw error;
  }
}

/** `STORE/GUEST/20261121T031500Z`: see store/layout.ts. */
function snapshotsIn(store: string): string[] {
  return namesIn(store).flatMap((guest) =>
    // Whoever else may write to a store makes names there: none of them is offered that no guest has.
    !isGuestDirectory(guest)
      ? []
      : namesIn(join(store, guest))
          .map((name) => /^\d{8}T\d{6}Z(?:-\d{1,3})?(?=\.|$)/.exec(name)?.[0])
          .flatMap((time) => (time === undefined ? [] : [`${guest}@${time}`])),
  );
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    // Not there, no directory, or not for us to see.
    return [];
  }
}
