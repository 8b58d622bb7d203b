import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { errnoOf } from '../../src/errors.js';
import type { JobRecord, JobStatus } from '../../src/history/records.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { type CliOptions, type CliResult, type RunningCli, startCli } from './cli.js';
import { canLoopMount, mountLoopFilesystem } from './loop-filesystem.js';
import { type BootOptions, bootGuest, type RealGuest } from './real-guest.js';
import { makeTempDir, removeTempDir } from './temp-dir.js';
import { waitFor } from './wait-for.js';

/** Every process of a house's commands carries it, guardians and captures too: that is how those left over are found. */
const houseVariable = 'UMLSNAP_TEST_HOUSE';

export interface GuestSettings {
  mconsole: string;
  disks: Record<string, string>;
  [key: string]: unknown;
}

/** What `umlsnap list --json` says of a snapshot. */
export interface Listed {
  snapshot: string;
  guest: string;
  state: 'sound' | 'damaged' | 'unreachable';
}

export interface HouseOptions {
  /** Of the filesystem that guests, state and store share. */
  sizeMiB?: number;
}

/** A config of umlsnap with its state and its store, and the commands run on it. */
export class TestHouse {
  readonly dir: string;
  readonly configFile: string;
  state: string;
  store: string;
  readonly #remove: () => Promise<void>;
  readonly #guests: RealGuest[] = [];
  /** What the history has said so far: none of it may be lost. */
  readonly #knownJobs = new Map<string, JobStatus>();
  readonly #verified = new Set<string>();

  private constructor(dir: string, remove: () => Promise<void>) {
    this.dir = dir;
    this.configFile = join(dir, 'config.yaml');
    this.state = join(dir, 'state');
    this.store = join(dir, 'store');
    this.#remove = remove;
  }

  /** On an XFS of its own, where snapshots are reflinks; without root, in a temporary directory. */
  static async build({ sizeMiB = 1024 }: HouseOptions = {}): Promise<TestHouse> {
    if (canLoopMount('xfs')) {
      const filesystem = await mountLoopFilesystem({ type: 'xfs', sizeMiB });
      return new TestHouse(filesystem.mountPoint, () => filesystem.remove());
    }
    const dir = await makeTempDir();
    return new TestHouse(dir, () => removeTempDir(dir));
  }

  /** Boots a guest that counts in /tmp/ticks, which is on no disk; it is ended with the house. */
  async boot(options: Partial<BootOptions> = {}): Promise<RealGuest> {
    const rc = ['(i=0; while :; do i=$((i + 1)); echo $i > /tmp/ticks; nap 0.05; done) &'];
    const guest = await bootGuest({ dir: this.dir, sizeMiB: 64, writer: 'none', rc, ...options });
    this.#guests.push(guest);
    return guest;
  }

  /**
   * Kills every command that runs and all that it started, as if at one instant: none of them sees another one die, and
   * does something about it.
   */
  killCommands(): void {
    const pids = this.processes();
    for (const signal of ['SIGSTOP', 'SIGKILL'] as const) {
      for (const pid of pids) signalIfThere(pid, signal);
    }
  }

  /** Ends what runs of it, commands first, and removes all of it. */
  async remove(): Promise<void> {
    this.killCommands();
    await Promise.all(this.#guests.map((guest) => guest.kill()));
    await this.#remove();
  }

  /** Writes the config; what `more` says comes on top of the usual. */
  async configure(guests: Record<string, GuestSettings>, more: Record<string, unknown> = {}): Promise<void> {
    const stores = { local: { type: 'directory', path: this.store } };
    const defaults = { timezone: 'UTC', pauseBudget: '60s' };
    // One port can't be every daemon's.
    // What lies on the disks is looked at where a test is about that.
    const verify = { filesystems: false };
    const config = { state: this.state, dashboard: false, verify, stores, defaults, guests, ...more };
    await mkdir(this.dir, { recursive: true });
    await writeFile(this.configFile, JSON.stringify(config, null, 2));
  }

  start(args: string[], options: CliOptions = {}): RunningCli {
    const env = { ...options.env, [houseVariable]: this.dir };
    return startCli(['-c', this.configFile, ...args], { ...options, env });
  }

  run(args: string[], options: CliOptions = {}): Promise<CliResult> {
    return this.start(args, options).exited;
  }

  /** The living processes of this house's commands. */
  processes(): number[] {
    const mark = `${houseVariable}=${this.dir}\0`;
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return pids.filter((pid) => environmentOf(pid).includes(mark)).map(Number);
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

  /** For a test that deletes the history: what it knew can't be asked for any more. */
  forgetHistory(): void {
    this.#knownJobs.clear();
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

  async listed(): Promise<Listed[]> {
    const { exitCode, stderr, json } = await this.run(['list', '--json']);
    if (exitCode !== 0 && exitCode !== 3) throw new Error(`umlsnap list exited ${exitCode}: ${stderr}`);
    return json as unknown as Listed[];
  }

  /** Snapshots in the making. */
  async incomings(): Promise<string[]> {
    return (await namesBelow(this.store)).filter((path) => /\.incoming-[^/]*$/.test(path));
  }

  /** Pauses that nobody has closed yet. */
  async leases(): Promise<string[]> {
    return (await namesBelow(join(this.state, 'leases'))).filter((path) => path.endsWith('.json'));
  }

  /** Freezes that are under way, or whose end nobody has seen. */
  async freezes(): Promise<string[]> {
    return await namesBelow(join(this.state, 'freezes'));
  }

  /**
   * What has to hold after every fault, once all commands have ended: the guests run, no process and no lease of ours is
   * left, nothing in the making is left or listed, what is listed verifies, and the history has lost nothing.
   */
  async expectAllWell(): Promise<void> {
    await Promise.all(this.#guests.map(expectRunning));
    await waitFor('processes of umlsnap to end', () => this.processes().length === 0, {
      found: () => this.processes().map(commandOf),
    });
    expect(await this.leases()).toEqual([]);
    expect(await this.incomings()).toEqual([]);
    await this.#expectHistoryWhole();
    for (const { snapshot, state } of await this.listed()) {
      expect({ snapshot, state }).toEqual({ snapshot, state: 'sound' });
      if (!this.#verified.has(snapshot)) await this.#verify(snapshot);
    }
  }

  async #expectHistoryWhole(): Promise<void> {
    const { jobs, openPauses } = await this.withHistory(async (history) => ({
      jobs: await history.jobs({}),
      openPauses: await history.openPauses(),
    }));
    expect(openPauses).toEqual([]);
    const found = new Map(jobs.map(({ job, status }) => [job, status]));
    expect([...found.values()]).not.toContain('running');
    for (const [job, status] of this.#knownJobs) expect([job, found.get(job)]).toEqual([job, status]);
    for (const [job, status] of found) this.#knownJobs.set(job, status);
  }

  async #verify(snapshot: string): Promise<void> {
    const { exitCode, stderr } = await this.run(['verify', snapshot]);
    expect({ snapshot, exitCode, stderr }).toEqual({ snapshot, exitCode: 0, stderr: '' });
    this.#verified.add(snapshot);
  }
}

/** The counter of a guest that `TestHouse.boot` has booted. */
export async function ticksOf(guest: RealGuest): Promise<number> {
  return Number(await guest.sh('cat /tmp/ticks'));
}

/** The guest's own counter goes on. */
export async function expectRunning(guest: RealGuest): Promise<void> {
  const before = await ticksOf(guest);
  await waitFor(`guest ${guest.umid} to go on`, async () => (await ticksOf(guest)) > before);
}

export const settingsOf = (guest: RealGuest, more: Record<string, unknown> = {}): GuestSettings => ({
  mconsole: guest.socketPath,
  disks: Object.fromEntries(guest.disks.map(({ device, path }) => [device, path])),
  ...more,
});

async function namesBelow(dir: string): Promise<string[]> {
  return await readdir(dir, { recursive: true }).catch(() => []);
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}

function environmentOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8');
  } catch {
    return ''; // it ended since the directory was read
  }
}

function commandOf(pid: number): string {
  try {
    return `${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`;
  } catch {
    return `${pid} (gone)`;
  }
}
