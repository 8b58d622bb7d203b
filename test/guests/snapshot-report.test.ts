import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Scene, type SnapshotResult, setScene } from '../snapshot/scene.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

/** What the command line tells of snapshots, to people and to programs, and what it keeps of them. */

let dir: string;
let scene: Scene;
let guest: RealGuest;
let taken: SnapshotResult;
beforeAll(async () => {
  dir = await makeTempDir();
  guest = await bootGuest({ dir, writer: 'none' });
  scene = await sceneWith({});
  taken = await scene.snapshot('--label', 'why=test');
});
afterAll(async () => {
  await guest?.kill();
  await removeTempDir(dir);
});

function sceneWith(settings: Record<string, unknown>): Promise<Scene> {
  const common = { capture: 'copy', pauseBudget: '20s' };
  const { disks, socketPath } = guest;
  return setScene({ dir, mconsole: socketPath, disks, settings: { ...common, ...settings } });
}

/** Design §8. Scripts read them without asking first whether the snapshot succeeded. */
const promisedFields = [
  ...['type', 'job', 'guest', 'status', 'snapshot', 'consistency', 'dirtyKib', 'method', 'pausedMs'],
  ...['budgetMs', 'resumed', 'sizeBytes', 'storedBytes', 'phases'],
];

describe('the summary of a snapshot', () => {
  test('has every promised field', () => {
    expect(Object.keys(taken.summary)).toEqual(expect.arrayContaining(promisedFields));
    expect(taken.summary).toMatchObject({
      ...{ type: 'summary', guest: 'debian', status: 'warning', consistency: 'synced', dirtyKib: 0 },
      ...{ method: 'copy', budgetMs: 20_000, resumed: true, sizeBytes: 128 * 2 ** 20, error: null },
      job: expect.stringMatching(/^\d{8}T\d{6}Z-[0-9a-f]{6}$/),
      snapshot: expect.stringMatching(/^debian@\d{8}T\d{6}Z$/),
    });
    expect(taken.exitCode).toBe(3);
  });

  test('lists the phases in their order, each with its start and its duration', () => {
    expect(taken.summary.phases.map(({ phase }) => phase)).toEqual([
      ...['preflight', 'precopy', 'quiesce', 'stop', 'sync', 'capture', 'go', 'seal', 'retain'],
    ]);
    for (const phase of taken.summary.phases) {
      expect(phase).toMatchObject({ startedAt: expect.stringMatching(/Z$/), outcome: 'done' });
      expect(phase.durationMs).toBeGreaterThanOrEqual(0);
    }
  });

  test('that failed has the same fields, and the error with its phase', async () => {
    const away = await setScene({ dir, mconsole: `${dir}/nowhere`, disks: [{ device: 'ubd0', path: dir }] });
    const { exitCode, summary } = await away.snapshot();
    expect(Object.keys(summary)).toEqual(expect.arrayContaining([...promisedFields, 'error']));
    expect(summary).toMatchObject({
      ...{ status: 'failed', snapshot: null, consistency: null, pausedMs: null },
      error: { phase: 'preflight', code: 'NoMconsoleSocket', message: expect.stringContaining('nowhere') },
      phases: [{ phase: 'preflight', outcome: 'failed' }],
    });
    expect(exitCode).toBe(1);
  });

  test('is the same that the history keeps', async () => {
    const jobs = (await scene.run('history', '--json')).json;
    const job = jobs.find((one) => one.job === taken.summary.job);
    expect(job?.summary).toEqual(taken.summary);
  });
});

/** The log of a job as `show --json` has it. */
function textsOf(job: Record<string, unknown> | undefined): string[] {
  const log = (job?.log ?? []) as { level: string; text: string }[];
  return log.map(({ level, text }) => `${level} ${text}`);
}

describe('what is a table for people is one object a line with --json', () => {
  test('list', async () => {
    const table = await scene.run('list');
    expect(table.stdout).toMatch(/^snapshot +store +taken .*consistency .*pause/);
    expect(table.stdout).toContain(taken.summary.snapshot);
    const { json, stdout } = await scene.run('list', '--json');
    expect(stdout.trimEnd().split('\n')).toHaveLength(json.length);
    expect(json).toMatchObject([
      { snapshot: taken.summary.snapshot, state: 'sound', labels: { why: 'test' } },
    ]);
  });

  test('history, newest first', async () => {
    expect((await scene.run('history')).stdout).toMatch(/^job +kind +guest +started .*status/);
    const { json } = await scene.run('history', 'debian', '--json');
    expect(json.map(({ status }) => status)).toContain('warning');
    const started = json.map(({ startedAt }) => String(startedAt));
    expect(started).toEqual([...started].sort().reverse());
    expect((await scene.run('history', '--json', '--limit', '1')).json).toHaveLength(1);
  });

  test('show, of a snapshot and of a job', async () => {
    const { snapshot, job } = taken.summary;
    const ofSnapshot = (await scene.run('show', snapshot ?? '', '--json')).json;
    expect(ofSnapshot).toMatchObject([{ type: 'snapshot', snapshot, job: { job, pauses: [{}] } }]);
    expect((await scene.run('show', 'debian@latest')).stdout).toMatch(/snapshot +debian@[\s\S]*preflight/);
    const ofJob = (await scene.run('show', String(job), '--json')).json;
    expect(ofJob).toMatchObject([{ type: 'job', job, phases: taken.summary.phases }]);
    expect((await scene.run('show', String(job))).stdout).toContain(`job ${job}: backup of debian`);
  });

  test('show, of the log of a job: its begin, each phase as it ends, its warnings and its end, in order', async () => {
    const { job, phases, warnings } = taken.summary;
    expect(textsOf((await scene.run('show', String(job), '--json')).json[0])).toEqual([
      expect.stringMatching(/^info backup of debian began, by a command of .+ \(process \d+\)$/),
      ...phases.map(({ phase }) => expect.stringMatching(`^info ${phase}: done after .* m?s`)),
      ...warnings.map((warning) => `warn ${warning}`),
      expect.stringMatching(/^warn ended after .*: warning$/),
    ]);
    const people = (await scene.run('show', String(job))).stdout;
    expect(people).toMatch(/^\d\d:\d\d:\d\d\.\d{3} {2}info {3}capture: done after .*$/m);
  });

  test('show, of the log of a job that failed: the failure, and what it was undone to', async () => {
    const { summary } = await scene.snapshot('--budget', '1ms');
    expect(summary.status).toBe('failed');
    const lines = textsOf((await scene.run('show', String(summary.job), '--json')).json[0]);
    expect(lines).toContain(
      `error ${summary.error?.code} in ${summary.error?.phase}: ${summary.error?.message}`,
    );
    expect(lines).toContainEqual(expect.stringMatching(/^info undone: what store \S+ had received/));
    expect(lines.at(-1)).toMatch(/^error ended after .*: failed$/);
  });
});

test('--quiet says nothing of what went well', async () => {
  const { stdout } = await scene.run('--quiet', 'snapshot', 'debian');
  expect(stdout).toBe('');
});

describe('what is kept', () => {
  const listed = async () =>
    (await scene.run('list', '--json')).json.map(({ snapshot, pinned }) => ({ snapshot, pinned }));

  test('a pin outlives every rule, a dry run only tells, and a rule gives its reason', async () => {
    const first = taken.summary.snapshot;
    expect((await scene.run('pin', first ?? '')).exitCode).toBe(0);
    const more = [await scene.snapshot(), await scene.snapshot()].map(({ summary }) => summary.snapshot);
    const [second, third] = more;
    scene = await sceneWith({ keep: { last: 1 } });
    const before = await listed();

    const told = await scene.run('prune', 'debian', '--dry-run', '--json');
    const summary = told.json.at(-1);
    expect(summary).toMatchObject({ dryRun: true, status: 'success' });
    expect(JSON.stringify(summary?.removed)).toContain(second);
    // One line for each, as in the table.
    expect(told.json).toHaveLength(before.length + 1);
    expect(told.json).toEqual(
      expect.arrayContaining([
        { type: 'verdict', store: 'local', snapshot: first, verdict: 'keep', reasons: ['pinned'] },
        expect.objectContaining({
          snapshot: second,
          verdict: 'remove',
          reasons: ['no keep rule asks for it'],
        }),
        expect.objectContaining({ snapshot: third, verdict: 'keep' }),
      ]),
    );
    expect(await listed()).toEqual(before);
    const table = await scene.run('prune', '--dry-run');
    expect(table.stdout).toMatch(new RegExp(`${first} +local +keep +pinned`));
    expect(table.stdout).toMatch(new RegExp(`${second} +local +remove +\\S`));

    expect((await scene.run('prune')).exitCode).toBe(0);
    expect((await listed()).map(({ snapshot }) => snapshot)).toEqual([first, third]);

    expect((await scene.run('unpin', first ?? '')).exitCode).toBe(0);
    const last = await scene.snapshot();
    // The rules apply after a snapshot that succeeded, and its summary names what they took.
    expect(JSON.stringify(last.summary.removed)).toContain(first);
    expect((await listed()).map(({ snapshot }) => snapshot)).toEqual([last.summary.snapshot]);
  });

  test('a snapshot that failed removes nothing', async () => {
    const before = await listed();
    const failed = await scene.snapshot('--budget', '1ms');
    expect(failed.exitCode).toBe(1);
    expect(await listed()).toEqual(before);
  });
});

test('one that was asked to pin is pinned from the first', async () => {
  const { summary } = await scene.snapshot('--pin');
  const shown = (await scene.run('show', summary.snapshot ?? '', '--json')).json;
  expect(shown).toMatchObject([{ pinned: true }]);
});

test("a guest's name made of escape sequences gets none of them to the terminal", async () => {
  const name = "$(printf '\\033]0;owned\\007\\033[2Jevil\\nsecond line')";
  await guest.sh(`hostname "${name}"`);
  const { exitCode, stdout, stderr } = await scene.run('snapshot', 'debian');
  expect(exitCode).toBe(3);
  const shown = await scene.run('show', 'debian@latest');
  const manifest = (await scene.run('show', 'debian@latest', '--json')).json[0];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not come through
  const harmful = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/;
  for (const text of [stdout, stderr, shown.stdout, shown.stderr, String(manifest?.kernel)])
    expect(text).not.toMatch(harmful);
  expect(String(manifest?.kernel)).toMatch(/^Linux .*evil second line /);
});
