import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Config, GuestConfig, StoreConfig } from './config/config.js';
import { reachableStores, stagingSuffix } from './config/guest-named.js';
import type { ResticStoreConfig, TarStoreConfig } from './config/store-config.js';
import type { CopyDeps } from './copies/ask-stores.js';
import type { GuestStores } from './copies/guest-stores.js';
import { isHistoryFailure, UmlsnapError } from './errors.js';
import { SqliteHistory } from './history/sqlite-history.js';
import { rememberStateId } from './history/state-id.js';
import { DirectoryStore } from './store/directory-store.js';
import { scratchDirectory } from './store/layout.js';
import { ResticStore } from './store/restic/restic-store.js';
import type { Store } from './store/store.js';
import { TarStore } from './store/tar/tar-store.js';

/** The application that a config describes: the one place that knows which classes stand behind the ports. */
export class App {
  readonly config: Config;
  readonly history: SqliteHistory;
  /** See `CopyHouse`. */
  readonly isDrilled = (guest: string): boolean => isDrilled(this.config, guest);

  constructor(config: Config, history: SqliteHistory) {
    this.config = config;
    this.history = history;
    history.useStores(reachableStores(config));
  }

  get stateDirectory(): string {
    return this.config.state;
  }

  get guests(): string[] {
    return Object.keys(this.config.guests);
  }

  get drillScratch(): string {
    return this.config.drill.scratch;
  }

  get stores(): Store[] {
    return allStores(this.config);
  }

  /** Where private copies of a verification are made. */
  get scratchPlaces(): string[] {
    const { verify, state } = this.config;
    const directories = this.stores.filter(({ type }) => type === 'directory');
    const own = verify.scratch === null ? [] : [verify.scratch];
    return [...own, join(state, 'scratch'), this.config.drill.scratch, ...directories.map(scratchDirectory)];
  }

  /** @throws NoSuchStore */
  storesOf(guest: GuestConfig): GuestStores {
    return storesOf(this.config, guest);
  }
}

/** Where copies of snapshots are looked for, with a history or without one. */
export function copyDeps(config: Config, history: SqliteHistory | UmlsnapError): CopyDeps<Store> {
  return {
    stateDirectory: config.state,
    stores: allStores(config),
    history,
    isDrilled: (guest) => isDrilled(config, guest),
  };
}

/** Of a guest that it does not have, a config wants nothing. */
function isDrilled({ guests }: Config, guest: string): boolean {
  return guests[guest]?.isDrilled ?? false;
}

/** Runs `use` with the app of a config, its history open. @throws HistoryUnusable, HistoryLocked */
export async function withApp<T>(config: Config, use: (app: App) => Promise<T>): Promise<T> {
  const history = await openHistory(config);
  try {
    return await use(new App(config, history));
  } finally {
    history.close();
  }
}

/**
 * As `withHouse`, for what must work without a history: when it can't be used, `use` gets the error in its place.
 * Snapshots lie in their stores, and can be listed and restored from there.
 */
export async function withHistoryIfAny<T>(
  config: Config,
  use: (history: SqliteHistory | UmlsnapError) => Promise<T>,
): Promise<T> {
  return await withHistoryOrWhyNot(() => openHistory(config), use);
}

/**
 * For whoever only looks: nothing is made or migrated. `use` gets null where there is no history yet, and an error where it
 * can't be used.
 */
export async function withHistoryToRead<T>(
  config: Config,
  use: (history: SqliteHistory | UmlsnapError | null) => Promise<T>,
): Promise<T> {
  const path = historyPath(config);
  if (!existsSync(path)) return await use(null);
  return await withHistoryOrWhyNot(() => SqliteHistory.open(path, { readOnly: true }), use);
}

/** It knows what is ours from then on, also where it had to be made anew. */
async function openHistory(config: Config): Promise<SqliteHistory> {
  const history = await SqliteHistory.open(historyPath(config));
  try {
    await rememberStateId(config.state, history);
    return history;
  } catch (error) {
    history.close();
    throw error;
  }
}

async function withHistoryOrWhyNot<T>(
  open: () => Promise<SqliteHistory>,
  use: (history: SqliteHistory | UmlsnapError) => Promise<T>,
): Promise<T> {
  let history: SqliteHistory;
  try {
    history = await open();
  } catch (error) {
    if (isHistoryFailure(error)) return await use(error);
    throw error;
  }
  try {
    return await use(history);
  } finally {
    history.close();
  }
}

/**
 * Every store, in the config's order; before an archive the directory in which snapshots wait for it, which is a store as well.
 */
export function allStores(config: Config): Store[] {
  return Object.values(config.stores).flatMap((store) =>
    store.type === 'directory'
      ? [buildStore(config, store)]
      : [stagingStore(config, store), buildStore(config, store)],
  );
}

/** @throws NoSuchStore */
export function storesOf(config: Config, { store: first, otherStores }: GuestConfig): GuestStores {
  const store = storeConfigNamed(config, first);
  const others = otherStores.map((name) => buildStore(config, storeConfigNamed(config, name)));
  if (store.type === 'directory') {
    const capturedInto = new DirectoryStore(store, config.largestSnapshotBytes);
    return { capturedInto, isStaging: false, filled: others };
  }
  return {
    capturedInto: stagingStore(config, store),
    isStaging: true,
    filled: [buildStore(config, store), ...others],
  };
}

/**
 * Where an archive is imported into: the store of this name, or the first directory of the config.
 * @throws NoSuchStore, Usage
 */
export function importStore(config: Config, name: string | undefined): DirectoryStore {
  const store =
    name === undefined
      ? Object.values(config.stores).find(({ type }) => type === 'directory')
      : storeConfigNamed(config, name);
  if (store?.type === 'directory') return new DirectoryStore(store, config.largestSnapshotBytes);
  const problem =
    store === undefined
      ? 'import needs a store that is a directory, and the config has none.'
      : `--store ${store.name}: import needs a store that is a directory; the guest's next backup carries it on from there.`;
  throw new UmlsnapError('Usage', { problem });
}

/** The store for which snapshots wait in this one; undefined for a store of the config itself. */
export function waitsFor(store: Store): string | undefined {
  return store.name.endsWith(stagingSuffix) ? store.name.slice(0, -stagingSuffix.length) : undefined;
}

/** Its name can't be one of the config's: these have no slash. */
function stagingStore(
  { state, largestSnapshotBytes }: Config,
  { name, staging: path }: ArchiveStoreConfig,
): DirectoryStore {
  const place = { name: `${name}${stagingSuffix}`, path, makesParents: path.startsWith(`${state}/`) };
  return new DirectoryStore(place, largestSnapshotBytes);
}

function storeConfigNamed({ stores }: Config, name: string): StoreConfig {
  const store = stores[name];
  if (!store) throw new UmlsnapError('NoSuchStore', { store: name, known: Object.keys(stores) });
  return store;
}

type ArchiveStoreConfig = TarStoreConfig | ResticStoreConfig;

function buildStore({ largestSnapshotBytes }: Config, store: StoreConfig): Store {
  switch (store.type) {
    case 'directory':
      return new DirectoryStore(store, largestSnapshotBytes);
    case 'tar':
      return new TarStore(store, largestSnapshotBytes);
    case 'restic':
      return new ResticStore(store, undefined, largestSnapshotBytes);
  }
}

function historyPath(config: Config): string {
  return join(config.state, 'history.db');
}
