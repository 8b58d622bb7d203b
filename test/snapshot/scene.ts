import { randomBytes } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type CliOptions, type CliResult, type RunningCli, runCli, startCli } from '../support/cli.js';
import type { GuestDisk } from '../support/guest-disks.js';
import type { RealGuest } from '../support/real-guest.js';
import { waitFor } from '../support/wait-for.js';

/** One guest called `debian`, the config that names it, its state and its stores, and umlsnap's command line on them. */
export interface Scene {
  readonly dir: string;
  readonly config: string;
  readonly state: string;
  /** The path of the store that snapshots go to, or wait in. */
  readonly store: string;
  run(...args: string[]): Promise<CliResult>;
  start(args: string[], options?: CliOptions): RunningCli;
  /** `snapshot debian --json` with these options. */
  snapshot(...options: string[]): Promise<SnapshotResult>;
}

export interface SceneOptions {
  /** Gets the config, the state and, unless they are given, the stores. */
  dir: string;
  mconsole: string;
  disks: GuestDisk[];
  /** By name, as paths of directories or as the config has them; the first is the default. */
  stores?: Record<string, string | Record<string, unknown>>;
  /** Of the guest, beside its mconsole and its disks. */
  settings?: Record<string, unknown>;
}

export interface SnapshotResult {
  exitCode: number | null;
  stderr: string;
  /** The one summary object that it printed. */
  summary: Summary;
}

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

export async function setScene(options: SceneOptions): Promise<Scene> {
  const { dir, mconsole, disks, settings = {} } = options;
  const stores = options.stores ?? { local: join(dir, 'store') };
  const [[defaultStore, first] = ['', '']] = Object.entries(stores);
  const storePath = typeof first === 'string' ? first : String(first.staging ?? first.path);
  // A file of its own: several scenes may share a directory, and so their state and store.
  const config = join(dir, `${randomBytes(4).toString('hex')}.yaml`);
  const state = join(dir, 'state');
  await mkdir(dir, { recursive: true });
  const text = JSON.stringify({
    state,
    // One port can't be every daemon's.
    dashboard: false,
    // What lies on the disks is looked at where a test is about that.
    verify: { filesystems: false },
    stores: Object.fromEntries(
      Object.entries(stores).map(([name, store]) => [
        name,
        typeof store === 'string' ? { type: 'directory', path: store } : store,
      ]),
    ),
    defaults: { store: defaultStore },
    guests: {
      debian: { mconsole, disks: Object.fromEntries(disks.map(inConfig)), ...settings },
    },
  });
  await writeFile(config, `${text}\n`);
  const run = (...args: string[]) => runCli(['-c', config, ...args]);
  return {
    ...{ dir, config, state, store: storePath },
    run,
    start: (args, cliOptions) => startCli(['-c', config, ...args], cliOptions),
    snapshot: async (...given) => resultOf(await run('snapshot', 'debian', '--json', ...given)),
  };
}

function inConfig({ device, path, backing }: GuestDisk): [string, unknown] {
  return [device, backing === undefined ? path : { path, backing }];
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

/** Lines for a guest's boot script: a counter in its memory, which touches no disk. */
export const ticker = ['(i=0; while :; do i=$((i + 1)); echo $i > /tmp/ticks; nap 0.02; done) &'];

/** The guest, booted with the `ticker`, runs: its counter goes on. */
export async function expectRuns(guest: RealGuest): Promise<void> {
  const ticks = async () => Number(await guest.sh('cat /tmp/ticks'));
  const before = await ticks();
  await waitFor('the guest to go on', async () => (await ticks()) > before);
}

/** What stands in the history and in the store, to hold a later state against. */
export interface Records {
  jobs: Map<string, string>;
  sound: Set<string>;
}

export async function recordsOf(scene: Scene): Promise<Records> {
  const jobs = (await scene.run('history', '--json', '--limit', '1000')).json;
  const listed = (await scene.run('list', '--json')).json;
  return {
    jobs: new Map(jobs.map((job) => [String(job.job), JSON.stringify(job)])),
    sound: new Set(listed.map(({ snapshot }) => String(snapshot))),
  };
}

/**
 * What no fault may do: nothing half made is left or listed, no lease is left, the history is readable and has lost no row,
 * every snapshot that was there still is, and whatever was added verifies.
 * @returns what stands there now
 */
export async function expectNothingLost(scene: Scene, before: Records): Promise<Records> {
  expect(await incomingIn(scene.store)).toEqual([]);
  expect(await entriesOf(join(scene.state, 'leases'))).toEqual([]);
  const after = await recordsOf(scene);
  for (const [job, row] of before.jobs) expect(after.jobs.get(job)).toBe(row);
  expect([...after.jobs.values()].filter((row) => /"status":"running"/.test(row))).toEqual([]);
  for (const snapshot of before.sound) expect(after.sound).toContain(snapshot);
  for (const snapshot of after.sound) {
    if (before.sound.has(snapshot)) continue;
    const { exitCode, stderr } = await scene.run('verify', snapshot);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  }
  return after;
}

/** The directories of snapshots in the making. */
export async function incomingIn(store: string): Promise<string[]> {
  return (await entriesOf(join(store, 'debian'))).filter((name) => name.startsWith('.incoming-'));
}

async function entriesOf(directory: string): Promise<string[]> {
  return readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
}
