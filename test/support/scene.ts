import { randomBytes } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import type { SnapshotOptions } from '../../src/control/request.js';
import { errnoOf } from '../../src/errors.js';
import type { JobRecord, JobStatus } from '../../src/history/records.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { stateIdPath } from '../../src/history/state-id.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { backingDirectory } from '../../src/store/layout.js';
import { isSound, type SoundSnapshot, type StoredSnapshot } from '../../src/store/stored-snapshots.js';
import { type FakeGuest, startFakeGuest } from '../fixtures/fake-guest.js';
import type { FakeGuestTraits } from '../fixtures/misbehaviour.js';
import { sha256sum } from '../image/make-image.js';
import { ours } from '../store/capture-of-tests.js';
import { type CliOptions, type CliResult, startCli } from './cli.js';
import { pids, readOrNothing, signalIfThere } from './guest-processes.js';
import { canLoopMount, mountLoopFilesystem } from './loop-filesystem.js';
import { type MconsoleProxy, startMconsoleProxy } from './mconsole-proxy.js';
import { type BootOptions, bootGuest, type RealGuest } from './real-guest.js';
import { makeTempDir, removeTempDir } from './temp-dir.js';
import { waitFor } from './wait-for.js';

/**
 * Every process of a scene's commands carries it, guardians and captures too: that is how those left over are found. By the name
 * of a locale, which is passed on to every child.
 */
const sceneVariable = 'LC_UMLSNAP_TEST_SCENE';

export interface SceneOptions {
  /** How its guest `debian` boots, silent and on 64 MiB by default; null: it has none. */
  guest?: Partial<BootOptions> | null;
  /** A fake guest in its place, with a disk of 1 MiB: for what a command says, where no kernel is needed. */
  fake?: FakeGuestTraits;
  /** An XFS of its own with all in it, so that snapshots are reflinks; without root, and by default, a temporary directory. */
  on?: 'xfs';
  /** Of that XFS. */
  sizeMiB?: number;
  /** A proxy stands before the guest's console. */
  proxied?: boolean;
  /** The guest's notifications go to a socket that the config names. */
  notify?: boolean;
  /** Of the guest in the config, beside its console and its disks. */
  settings?: Record<string, unknown>;
  /** By name, as paths of directories or as the config has them; the first is the default. Otherwise one directory, `local`. */
  stores?: Record<string, string | Record<string, unknown>>;
  /** Of the config, beside all that. */
  config?: Record<string, unknown>;
}

type GuestSettings = Record<string, unknown> & { mconsole: string; disks: Record<string, unknown> };

/** The summary of a snapshot, as far as tests look at it. */
export interface Summary {
  [key: string]: unknown;
  status: string;
  snapshot: string | null;
  pausedMs: number | null;
  dirtyKib?: number;
  warnings: string[];
  phases: { phase: string; durationMs: number; outcome: string; facts: Record<string, unknown> }[];
  error: { phase: string; code: string; message: string } | null;
}

export interface SnapshotResult {
  exitCode: number | null;
  stderr: string;
  /** The one summary object that it printed. */
  summary: Summary;
}

/** For a file or a `describe`: a scene that is there before its first test, and gone after its last one. */
export function setScene(options: SceneOptions = {}): Scene {
  const scene = new Scene(options);
  beforeAll(() => scene.build());
  afterAll(() => scene.remove());
  return scene;
}

/** For one test. */
export async function withScene<T>(options: SceneOptions, use: (scene: Scene) => Promise<T>): Promise<T> {
  const scene = new Scene(options);
  try {
    await scene.build();
    return await use(scene);
  } finally {
    await scene.remove();
  }
}

/**
 * A guest called `debian`, the config that names it, its state and its stores, and umlsnap's command line on them. What is
 * only looked at, in the store and in the history, the test reads by itself: a command is started where it is what is tested.
 */
export class Scene {
  readonly #options: SceneOptions;
  readonly #guests: RealGuest[] = [];
  readonly #removals: (() => Promise<unknown>)[] = [];
  readonly #mark = randomBytes(6).toString('hex');
  /** What the history and the store have shown so far: none of it may be lost. */
  #jobs = new Map<string, JobStatus>();
  readonly #whole = new Set<string>();
  #dir = '';
  #proxy: MconsoleProxy | undefined;
  #fake: FakeGuest | undefined;
  config = '';
  state = '';
  /** The path of the store that snapshots go to, or wait in. */
  store = '';

  constructor(options: SceneOptions = {}) {
    this.#options = options;
  }

  async build(): Promise<void> {
    const { on, sizeMiB = 1024, guest, fake, proxied } = this.#options;
    if (on === 'xfs' && canLoopMount('xfs')) {
      const filesystem = await mountLoopFilesystem({ type: 'xfs', sizeMiB });
      this.#dir = filesystem.mountPoint;
      this.#removals.push(() => filesystem.remove());
    } else {
      this.#dir = await makeTempDir();
      this.#removals.push(() => removeTempDir(this.#dir));
    }
    this.config = join(this.#dir, 'config.yaml');
    this.state = join(this.#dir, 'state');
    const [first = join(this.#dir, 'store')] = Object.values(this.#options.stores ?? {});
    this.store = typeof first === 'string' ? first : String(first.staging ?? first.path);
    if (fake) await this.#startFake(fake);
    else if (guest !== null) await this.boot(guest);
    if (proxied) {
      const guestSocketPath = this.#fake?.socketPath ?? this.guest.socketPath;
      const proxy = await startMconsoleProxy({ listenPath: this.path('p'), guestSocketPath });
      this.#proxy = proxy;
      this.#removals.push(() => proxy.close());
    }
    await this.configure();
  }

  async #startFake(traits: FakeGuestTraits): Promise<void> {
    await writeFile(this.path('disk.img'), Buffer.alloc(2 ** 20, 7));
    const disks = { ubd0: this.path('disk.img') };
    const fake = await startFakeGuest({ dir: this.path('g'), disks, ...traits });
    this.#fake = fake;
    this.#removals.push(() => fake.stop());
  }

  /** Boots a guest that counts in /tmp/ticks, which is on no disk; the scene's own is the first one. */
  async boot(options: Partial<BootOptions> = {}): Promise<RealGuest> {
    const notifySocket = this.#options.notify ? { notifySocket: this.notifySocket } : {};
    const guest = await bootGuest({
      ...{ dir: this.dir, sizeMiB: 64, writer: 'none', ...notifySocket },
      ...{ ...options, rc: [ticker, ...(options.rc ?? [])] },
    });
    this.#guests.push(guest);
    return guest;
  }

  /** Ends what runs of it, commands first, and removes all of it. */
  async remove(): Promise<void> {
    this.killCommands();
    await Promise.all(this.#guests.map((guest) => guest.kill()));
    for (const removal of this.#removals.reverse()) await removal();
  }

  get dir(): string {
    if (this.#dir === '') throw new Error('the scene is not built yet');
    return this.#dir;
  }

  path(...names: string[]): string {
    return join(this.dir, ...names);
  }

  get guest(): RealGuest {
    return this.#guests[0] ?? absent('guest');
  }

  get fake(): FakeGuest {
    return this.#fake ?? absent('fake guest');
  }

  get proxy(): MconsoleProxy {
    return this.#proxy ?? absent('proxy');
  }

  get notifySocket(): string {
    return this.path('n.sock');
  }

  /** What the config says of the scene's guest, with this on top. */
  settings(more: Record<string, unknown> = {}): GuestSettings {
    const { settings, notify } = this.#options;
    const own =
      this.#fake === undefined
        ? settingsOf(this.guest)
        : { mconsole: this.#fake.socketPath, disks: { ubd0: this.path('disk.img') } };
    return {
      ...{ ...own, ...(this.#proxy && { mconsole: this.#proxy.socketPath }) },
      ...{ ...(notify && { notify: this.notifySocket }), ...settings, ...more },
    };
  }

  /** Writes the config anew: of the guests, those given, or the scene's own; what `more` says comes on top. */
  async configure(guests?: Record<string, object>, more: Record<string, unknown> = {}): Promise<void> {
    const hasOwn = this.#fake !== undefined || this.#guests.length > 0;
    const own = () => (hasOwn ? { debian: this.settings() } : {});
    await writeFile(this.config, JSON.stringify(this.#configOf(guests ?? own(), more), null, 2));
  }

  #configOf(guests: Record<string, object>, more: Record<string, unknown>): Record<string, unknown> {
    const { stores = { local: this.store }, config } = this.#options;
    const asConfigured = Object.entries(stores).map(([name, store]) => [
      name,
      typeof store === 'string' ? { type: 'directory', path: store } : store,
    ]);
    return {
      state: this.state,
      // One port can't be every daemon's.
      dashboard: false,
      // What lies on the disks is looked at where a test is about that.
      verify: { filesystems: false },
      stores: Object.fromEntries(asConfigured),
      // `60s`: what takes long on a busy machine is not cut, where the budget is not what a test is about.
      defaults: { store: Object.keys(stores)[0], timezone: 'UTC', pauseBudget: '60s' },
      guests,
      ...{ ...config, ...more },
    };
  }

  /** The command line on another config of the same guest, state and store, `through` a program that becomes it. */
  async variant(
    settings: Record<string, unknown>,
    more: Record<string, unknown> = {},
    through: string[] = [],
  ): Promise<Commands> {
    return commandsOn(await this.#variantConfig(settings, more), this.#mark, through);
  }

  async #variantConfig(settings: Record<string, unknown>, more: Record<string, unknown>): Promise<string> {
    const config = this.path(`${randomBytes(4).toString('hex')}.yaml`);
    await writeFile(config, JSON.stringify(this.#configOf({ debian: this.settings(settings) }, more)));
    return config;
  }

  /**
   * A backup on such a config as `snapshot` runs it, with its row in the history, but by this process: for what comes of it,
   * where how a command tells it is shown elsewhere.
   */
  async backup(
    settings: Record<string, unknown> = {},
    options: SnapshotOptions = {},
    more: Record<string, unknown> = {},
  ): Promise<Summary> {
    const [{ backup }, { withSnapshotOptions }, { withApp }, { guestNamed }, { loadConfig }] =
      await Promise.all([
        import('../../jobs/backup.js'),
        import('../../src/job/with-snapshot-options.js'),
        import('../../src/compose.js'),
        import('../../src/config/guest-named.js'),
        import('../../src/config/load-config.js'),
      ]);
    const config = await loadConfig(await this.#variantConfig(settings, more));
    const order = withSnapshotOptions(guestNamed(config, 'debian'), options);
    const { signal } = new AbortController();
    return await withApp(config, async (app) => {
      const { stateDirectory, history } = app;
      const around = { stateDirectory, history, stores: app.storesOf(order.config) };
      return (await backup({ ...order, trigger: 'manual', signal }, around)) as unknown as Summary;
    });
  }

  get #commands(): Commands {
    return commandsOn(this.config, this.#mark);
  }
  readonly start: Commands['start'] = (...given) => this.#commands.start(...given);
  readonly run: Commands['run'] = (...given) => this.#commands.run(...given);
  readonly startSnapshot: Commands['startSnapshot'] = (...given) => this.#commands.startSnapshot(...given);
  readonly snapshot: Commands['snapshot'] = (...given) => this.#commands.snapshot(...given);

  /** The living processes of this scene's commands. */
  processes(): number[] {
    const mark = `${sceneVariable}=${this.#mark}\0`;
    return pids().filter((pid) => readOrNothing(`/proc/${pid}/environ`).includes(mark));
  }

  guardians(): number[] {
    return this.processes().filter((pid) =>
      readOrNothing(`/proc/${pid}/cmdline`).includes('guardian-process'),
    );
  }

  /**
   * Kills every command that runs and all that it started, as if at one instant: none of them sees another one die, and
   * does something about it.
   */
  killCommands(): void {
    const all = this.processes();
    for (const signal of ['SIGSTOP', 'SIGKILL'] as const) {
      for (const pid of all) signalIfThere(pid, signal);
    }
  }

  /** Makes what the test seals by its own hand (`draftOf`) this state's own. */
  async own(): Promise<void> {
    await mkdir(this.state, { recursive: true, mode: 0o700 });
    const text = JSON.stringify({ format: 'umlsnap-state/1', id: ours.id });
    await writeFile(stateIdPath(this.state), text);
  }

  /** Reads or writes the history, beside whatever command is at work on it. */
  async withHistory<T>(use: (history: SqliteHistory) => Promise<T>): Promise<T> {
    const history = await SqliteHistory.open(join(this.state, 'history.db'));
    try {
      return await use(history);
    } finally {
      history.close();
    }
  }

  /** Newest first. */
  jobs(guest?: string): Promise<JobRecord[]> {
    return this.withHistory((history) => history.jobs(guest === undefined ? {} : { guest }));
  }

  async newestJob(guest?: string): Promise<JobRecord> {
    const [job] = await this.jobs(guest);
    if (!job) throw new Error(`the history has no job of ${guest ?? 'anybody'}`);
    return job;
  }

  /** What the store lists, of all guests, the oldest first. */
  async listed(): Promise<StoredSnapshot[]> {
    const found = await new DirectoryStore({ name: 'local', path: this.store }).list();
    return found.sort((a, b) => (a.snapshot < b.snapshot ? -1 : 1));
  }

  /** Their names. */
  async snapshots(): Promise<string[]> {
    return (await this.listed()).map(({ snapshot }) => snapshot);
  }

  /** Where a snapshot's files lie. */
  directoryOf(snapshot: string | null): string {
    return join(this.store, ...(snapshot ?? '').split('@'));
  }

  /** Snapshots in the making, as paths below the store. */
  async incomings(): Promise<string[]> {
    return (await namesBelow(this.store)).filter((path) => /\.incoming-[^/]*$/.test(path));
  }

  /** Pauses that nobody has closed yet. */
  async leases(): Promise<string[]> {
    return (await namesBelow(join(this.state, 'leases'))).filter((path) => path.endsWith('.json'));
  }

  /** For a test that deletes the history, or changes what it says: what it knew can't be asked for any more. */
  forgetHistory(): void {
    this.#jobs.clear();
  }

  /** For a test that removes snapshots. */
  forgetSnapshots(): void {
    this.#whole.clear();
  }

  /**
   * What has to hold after every fault, once all commands have ended: the guests run, no process, lease or freeze of ours is left, nothing
   * half-made is left or listed, the history has lost nothing, every snapshot of before is there, and what was added is
   * what its manifest says.
   * @param daemon may run on, with nothing at work
   */
  async expectWell(daemon?: { pid: number }): Promise<void> {
    for (const guest of this.#guests) await expectRuns(guest);
    const leftOver = () => this.processes().filter((pid) => pid !== daemon?.pid);
    const commandOf = (pid: number) => readOrNothing(`/proc/${pid}/cmdline`).replaceAll('\0', ' ');
    await waitFor('processes of umlsnap to end', () => leftOver().length === 0, {
      found: () => leftOver().map((pid) => `${pid} ${commandOf(pid)}`),
    });
    expect(await this.leases()).toEqual([]);
    expect(await namesBelow(join(this.state, 'freezes'))).toEqual([]);
    expect(await this.incomings()).toEqual([]);
    await this.#expectHistoryWhole();
    const listed = await this.listed();
    expect(listed.map(({ snapshot }) => snapshot)).toEqual(expect.arrayContaining([...this.#whole]));
    for (const stored of listed) {
      if (!isSound(stored)) expect.fail(`${stored.snapshot} is damaged: ${stored.damaged}`);
      if (!this.#whole.has(stored.snapshot)) await expectWhole(this.store, stored);
      this.#whole.add(stored.snapshot);
    }
  }

  /** What dead processes have left of tracing and sockets is removed by whoever comes first: that of another test may be among it. */
  async expectNothingToRecover(): Promise<void> {
    const { exitCode, stderr, stdout } = await this.run('recover');
    const ofAnybody =
      /^(ended the tracing .* of a job|removed \S*\/umlsnap-\d\S*, which a process) that died.*\n/gm;
    const told = stdout.replaceAll(ofAnybody, '') || 'Nothing to recover.\n';
    expect({ exitCode, stderr, told }).toEqual({ exitCode: 0, stderr: '', told: 'Nothing to recover.\n' });
  }

  /** As `expectWell`, and no snapshot was added since it was last asked: what failed has kept nothing. */
  async expectUnharmed(): Promise<void> {
    expect(await this.snapshots()).toEqual([...this.#whole].sort());
    await this.expectWell();
  }

  async #expectHistoryWhole(): Promise<void> {
    expect(await this.withHistory((history) => history.openPauses())).toEqual([]);
    const found = new Map((await this.jobs()).map(({ job, status }) => [job, status]));
    expect([...found.values()]).not.toContain('running');
    for (const [job, status] of this.#jobs) expect([job, found.get(job)]).toEqual([job, status]);
    this.#jobs = found;
  }
}

/** Settings of a guest that is captured in its first pause, however dirty it is then. */
export const capturesAtOnce = { require: 'crash', syncTries: 1 };

export type Commands = ReturnType<typeof commandsOn>;

/** umlsnap's command line on one config, `through` a program that becomes it. */
function commandsOn(config: string, mark: string, through: string[] = []) {
  const start = (args: string[], options: CliOptions = {}) =>
    startCli(['-c', config, ...args], {
      ...{ through, ...options },
      env: { ...options.env, [sceneVariable]: mark },
    });
  const run = (...args: string[]) => start(args).exited;
  /** `snapshot debian --json` with these options. */
  const startSnapshot = (...options: string[]) => start(['snapshot', 'debian', '--json', ...options]);
  const snapshot = async (...options: string[]) => resultOf(await startSnapshot(...options).exited);
  return { start, run, startSnapshot, snapshot };
}

/** Of a guest's boot script: a counter in its memory, which touches no disk. */
const ticker = '(i=0; while :; do i=$((i + 1)); echo $i > /tmp/ticks; nap 0.05; done) &';

/** The guest's own counter goes on. */
export async function expectRuns(guest: RealGuest): Promise<void> {
  const ticks = async () => Number(await guest.sh('cat /tmp/ticks'));
  const before = await ticks();
  await waitFor(`guest ${guest.umid} to go on`, async () => (await ticks()) > before);
}

/** What the config says of a guest. */
export function settingsOf(guest: RealGuest, more: Record<string, unknown> = {}): GuestSettings {
  const disks = guest.disks.map(({ device, path, backing }) => [device, backing ? { path, backing } : path]);
  return { mconsole: guest.socketPath, disks: Object.fromEntries(disks), ...more };
}

/** What a `snapshot --json` came to. @throws when it did not print exactly one summary */
export function resultOf({ exitCode, stderr, json }: CliResult): SnapshotResult {
  const summaries = json.filter(({ type }) => type === 'summary');
  expect(summaries, stderr).toHaveLength(1);
  return { exitCode, stderr, summary: summaries[0] as Summary };
}

/** What a failed snapshot is expected to say; its code decides its exit code. */
export function expectFailed(result: SnapshotResult, code: string, exitCode = 1): Summary {
  expect(result.summary, result.stderr).toMatchObject({ error: { code }, snapshot: null });
  expect(result.exitCode).toBe(exitCode);
  return result.summary;
}

/** By this test's own reading: every file of a snapshot has the SHA-256 that its manifest gives. */
export async function expectWhole(store: string, { directory, manifest }: SoundSnapshot): Promise<void> {
  for (const { file, sha256, backing } of manifest.disks) {
    expect({ file, sha256: await sha256sum(join(directory, file)) }).toEqual({ file, sha256 });
    if (!backing) continue;
    const path = join(backingDirectory({ name: 'local', path: store }), backing.file);
    expect({ file, sha256: await sha256sum(path) }).toEqual({ file, sha256: backing.sha256 });
  }
}

function absent(what: string): never {
  throw new Error(`the scene has no ${what}, or is not built yet`);
}

async function namesBelow(dir: string): Promise<string[]> {
  return await readdir(dir, { recursive: true }).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  });
}
