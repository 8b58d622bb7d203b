import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { recover } from '../../jobs/recover.js';
import { recoverAtStart } from '../../jobs/recover-at-start.js';
import { type VerifyWork, verify } from '../../jobs/verify.js';
import type { VerifyWish } from '../../jobs/verify-targets.js';
import { House } from '../../src/compose.js';
import { loadConfig } from '../../src/config/load-config.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import type { DirectoryStore } from '../../src/store/directory-store.js';
import { storeAt } from '../store/fresh-store.js';
import { type ImageWish, sealSparse } from '../store/sparse-snapshots.js';
import { type CliResult, type RunningCli, runCli, startCli } from '../support/cli.js';

/** A config with a store and no guest that runs: snapshots are put into the store by hand. */
export class VerifyScene {
  readonly config: string;
  readonly state: string;
  readonly store: DirectoryStore;

  private constructor(readonly dir: string) {
    this.config = join(dir, 'config.yaml');
    this.state = join(dir, 'state');
    this.store = storeAt(join(dir, 'store'));
  }

  static async set(dir: string, settings: Record<string, unknown> = {}): Promise<VerifyScene> {
    const scene = new VerifyScene(dir);
    await mkdir(dir, { recursive: true });
    await scene.configure(settings);
    await scene.store.prepare(null);
    return scene;
  }

  /** @param verify what the config says of it */
  async configure(verify: Record<string, unknown>): Promise<void> {
    const guest = (name: string) => ({ mconsole: join(this.dir, name), disks: { ubd0: `/srv/${name}.img` } });
    const guests = { debian: guest('debian'), other: guest('other') };
    const stores = { local: { type: 'directory', path: this.store.path } };
    await writeFile(this.config, JSON.stringify({ state: this.state, stores, guests, verify }));
  }

  /** Seals copies of these images as a snapshot, `20261121T031500Z` of its guest. */
  async keep(guest: string, time: string, images: Record<string, ImageWish>): Promise<string> {
    return (await sealSparse(this.store, `${guest}@${time}`, images)).snapshot;
  }

  async withHouse<T>(use: (house: House) => Promise<T>): Promise<T> {
    const history = await SqliteHistory.open(join(this.state, 'history.db'));
    try {
      return await use(new House(await loadConfig(this.config), history));
    } finally {
      history.close();
    }
  }

  /** Puts what lies in the store into the history. */
  async index(): Promise<void> {
    await this.withHouse(async (house) => recover(house, await recoverAtStart(house.history, [])));
  }

  async verify(wish: VerifyWish = { of: 'guest', guest: null }, work: Partial<VerifyWork> = {}) {
    return await this.withHouse((house) =>
      verify(wish, house, { signal: new AbortController().signal, ...work }),
    );
  }

  async verifications() {
    return await this.withHouse(({ history }) => history.verifications({}));
  }

  run(...args: string[]): Promise<CliResult> {
    return runCli(['-c', this.config, ...args]);
  }

  start(...args: string[]): RunningCli {
    return startCli(['-c', this.config, ...args]);
  }
}
