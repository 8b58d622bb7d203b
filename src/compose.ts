import { join } from 'node:path';
import type { Config, StoreConfig } from './config/config.js';
import { isHistoryFailure, UmlsnapError } from './errors.js';
import { SqliteHistory } from './history/sqlite-history.js';
import { DirectoryStore } from './store/directory-store.js';
import { scratchDirectory } from './store/layout.js';

/** The concrete house that a config describes: the one place that knows which classes stand behind the ports. */
export class House {
  readonly config: Config;
  readonly history: SqliteHistory;

  constructor(config: Config, history: SqliteHistory) {
    this.config = config;
    this.history = history;
  }

  get stateDirectory(): string {
    return this.config.state;
  }

  get drillScratch(): string {
    return this.config.drill.scratch;
  }

  get stores(): DirectoryStore[] {
    return allStores(this.config);
  }

  /** Where private copies of a verification are made. */
  get scratchPlaces(): string[] {
    const { verify, state } = this.config;
    const own = verify.scratch === null ? [] : [verify.scratch];
    return [...own, join(state, 'scratch'), this.config.drill.scratch, ...this.stores.map(scratchDirectory)];
  }

  /** @throws NoSuchStore */
  store(name: string): DirectoryStore {
    return storeNamed(this.config, name);
  }
}

/** Runs `use` with the house of a config, its history open. @throws HistoryUnusable, HistoryLocked */
export async function withHouse<T>(config: Config, use: (house: House) => Promise<T>): Promise<T> {
  const history = await SqliteHistory.open(historyPath(config));
  try {
    return await use(new House(config, history));
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
  let history: SqliteHistory;
  try {
    history = await SqliteHistory.open(historyPath(config));
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

/** @throws NoSuchStore */
export function storeNamed(config: Config, name: string): DirectoryStore {
  const store = config.stores[name];
  if (!store) throw new UmlsnapError('NoSuchStore', { store: name, known: Object.keys(config.stores) });
  return buildStore(store);
}

export function allStores(config: Config): DirectoryStore[] {
  return Object.values(config.stores).map(buildStore);
}

function buildStore(store: StoreConfig): DirectoryStore {
  return new DirectoryStore(store);
}

function historyPath(config: Config): string {
  return join(config.state, 'history.db');
}
