import { beforeAll, describe, expect, test } from 'vitest';
import { isSound } from '../../src/store/stored-snapshots.js';
import type { CliResult } from '../support/cli.js';
import { type SnapshotResult, type Summary, setScene } from '../support/scene.js';

/**
 * What the command line tells of snapshots, to people and to programs, and what it keeps of them. The guest's name is made of
 * escape sequences: none of them gets to the terminal, whatever is told of it.
 */

const hostname = "$(printf '\\033]0;owned\\007\\033[2Jevil\\nsecond line')";
const scene = setScene({
  guest: { fillMiB: 16, rc: [`hostname "${hostname}"`] },
  settings: { capture: 'copy' },
});
let taken: SnapshotResult;
let failed: Summary;
beforeAll(async () => {
  taken = await scene.snapshot('--label', 'why=test');
  failed = await scene.backup({}, { budgetMs: 1 });
});

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not come through
const harmful = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/;
async function run(...args: string[]): Promise<CliResult> {
  const result = await scene.run(...args);
  expect(result.stdout + result.stderr).not.toMatch(harmful);
  return result;
}

/** Design §8. Scripts read them without asking first whether the snapshot succeeded. */
const promisedFields = [
  ...['type', 'job', 'guest', 'status', 'snapshot', 'consistency', 'dirtyKib', 'method', 'pausedMs'],
  ...['budgetMs', 'resumed', 'sizeBytes', 'storedBytes', 'phases'],
];

test('the summary of a snapshot has every promised field, and the phases in their order, each with its start and its duration', () => {
  const { summary, exitCode } = taken;
  expect(Object.keys(summary)).toEqual(expect.arrayContaining(promisedFields));
  expect(summary).toMatchObject({
    ...{ type: 'summary', guest: 'debian', status: 'warning', consistency: 'synced', dirtyKib: 0 },
    ...{ method: 'copy', budgetMs: 60_000, resumed: true, sizeBytes: 64 * 2 ** 20, error: null },
    job: expect.stringMatching(/^\d{8}T\d{6}Z-[0-9a-f]{6}$/),
    snapshot: expect.stringMatching(/^debian@\d{8}T\d{6}Z$/),
  });
  expect(exitCode).toBe(3);
  expect(summary.phases.map(({ phase }) => phase)).toEqual([
    ...['preflight', 'precopy', 'sync', 'stop', 'check', 'capture', 'go', 'seal', 'retain'],
  ]);
  for (const phase of summary.phases) {
    expect(phase).toMatchObject({ startedAt: expect.stringMatching(/Z$/), outcome: 'done' });
    expect(phase.durationMs).toBeGreaterThanOrEqual(0);
  }
});

test('the summary of one that failed has the same fields, and the error with its phase', () => {
  expect(Object.keys(failed)).toEqual(expect.arrayContaining([...promisedFields, 'error']));
  const code = 'PredictedPauseOverBudget';
  expect(failed).toMatchObject({
    ...{ status: 'failed', snapshot: null, consistency: null, pausedMs: null },
    error: { phase: 'preflight', code, message: expect.stringContaining('1 ms') },
    phases: [{ phase: 'preflight', outcome: 'failed' }],
  });
});

describe('what is a table for people is one object a line with --json', () => {
  test('list', async () => {
    const { snapshot } = taken.summary;
    const table = await run('list');
    expect(table.stdout).toMatch(/^snapshot +store +taken .*consistency .*pause/);
    expect(table.stdout).toContain(snapshot);
    const { json, stdout } = await run('list', '--json');
    expect(stdout.trimEnd().split('\n')).toHaveLength(1);
    expect(json).toMatchObject([{ snapshot, state: 'sound', labels: { why: 'test' } }]);
  });

  test('history, newest first, with the summary that was printed', async () => {
    const table = (await run('history', '--limit', '1')).stdout.trimEnd().split('\n');
    expect(table).toEqual([
      expect.stringMatching(/^job +kind +guest +started .*status/),
      expect.stringContaining(String(failed.job)),
    ]);
    const { json } = await run('history', 'debian', '--json');
    expect(json).toMatchObject([{ status: 'failed' }, { status: 'warning' }]);
    expect(json.map(({ summary }) => summary)).toEqual([failed, taken.summary]);
  });

  test('show, of a snapshot and of a job', async () => {
    const { snapshot, job } = taken.summary;
    const ofSnapshot = (await run('show', snapshot ?? '', '--json')).json;
    expect(ofSnapshot).toMatchObject([{ type: 'snapshot', snapshot, job: { job, pauses: [{}] } }]);
    expect(ofSnapshot[0]?.kernel).toMatch(/^Linux .*evil second line /);
    expect(ofSnapshot[0]?.kernel).not.toMatch(harmful);
    expect((await run('show', 'debian@latest')).stdout).toMatch(/snapshot +debian@[\s\S]*preflight/);
    const people = (await run('show', String(job))).stdout;
    expect(people).toContain(`job ${job}: backup of debian`);
    expect(people).toMatch(/^\d\d:\d\d:\d\d\.\d{3} {2}info {3}capture: done after .*$/m);
  });
});

test('the log of a job has its begin, each phase as it ends, its warnings or its failure, what was undone, and its end', async () => {
  const logOf = async ({ job, phases }: Summary) => {
    const [shown] = (await run('show', String(job), '--json')).json;
    expect(shown).toMatchObject({ type: 'job', job, phases });
    const { log } = shown as { log: { level: string; text: string }[] };
    return log.map(({ level, text }) => `${level} ${text}`);
  };
  const { phases, warnings } = taken.summary;
  expect(await logOf(taken.summary)).toEqual([
    expect.stringMatching(/^info backup of debian began, by a command of .+ \(process \d+\)$/),
    ...phases.map(({ phase }) => expect.stringMatching(`^info ${phase}: done after .* m?s`)),
    ...warnings.map((warning) => `warn ${warning}`),
    expect.stringMatching(/^warn ended after .*: warning$/),
  ]);
  const { error } = failed;
  const ofFailed = await logOf(failed);
  expect(ofFailed).toContain(`error ${error?.code} in ${error?.phase}: ${error?.message}`);
  expect(ofFailed).toContainEqual(expect.stringMatching(/^info undone: what store \S+ had received/));
  expect(ofFailed.at(-1)).toMatch(/^error ended after .*: failed$/);
});

test('a snapshot can be pinned from the first, and outlives every rule while it is; a dry run only tells, and a snapshot that failed removes nothing', async () => {
  const pinned = async () =>
    (await scene.listed()).map((one) => (isSound(one) ? one.manifest.pinned : one.damaged));

  await scene.backup();
  expect((await run('--quiet', 'snapshot', 'debian', '--pin')).stdout).toBe('');
  expect(await pinned()).toEqual([false, false, true]);

  const [first = '', second, third] = await scene.snapshots();
  expect((await run('pin', first)).exitCode).toBe(0);
  expect(await pinned()).toEqual([true, false, true]);
  const keep = { keep: { last: 1 } };
  await scene.configure({ debian: scene.settings(keep) });
  expect((await run('prune', 'debian', '--dry-run', '--json')).json).toEqual([
    { type: 'verdict', store: 'local', snapshot: first, verdict: 'keep', reasons: ['pinned'] },
    expect.objectContaining({ snapshot: second, verdict: 'remove', reasons: ['no keep rule asks for it'] }),
    expect.objectContaining({ snapshot: third, verdict: 'keep' }),
    expect.objectContaining({ dryRun: true, removed: [expect.objectContaining({ snapshot: second })] }),
  ]);
  expect((await scene.backup(keep, { budgetMs: 1 })).status).toBe('failed');
  expect(await scene.snapshots()).toEqual([first, second, third]);

  expect((await run('unpin', first)).exitCode).toBe(0);
  const { exitCode, stdout } = await run('snapshot', 'debian');
  expect(exitCode).toBe(3);
  // The rules apply after a snapshot that succeeded, and its summary names what they took.
  const { snapshot, removed } = (await scene.newestJob()).summary ?? {};
  for (const name of [first, second]) expect(JSON.stringify(removed)).toContain(name);
  expect(stdout).toMatch(new RegExp(`^${snapshot} {2}synced {2}copy .* stored$`, 'm'));
  expect(await scene.snapshots()).toEqual([third, snapshot]);
});

test('status shows a guest as what it is, running, stopped by hand, held by a signal, gone, and its last snapshot with it', async () => {
  const { guest } = scene;
  const { snapshot = null, status = '' } = (await scene.newestJob()).summary ?? {};
  const known = {
    ...{ guest: 'debian', pausedByJob: null, nextRun: null, lastBackup: { status } },
    lastSnapshot: { snapshot, consistency: 'synced', ageSeconds: expect.any(Number) },
  };
  const expectShown = async (more: Record<string, unknown>) => {
    const { json, exitCode, stderr } = await run('status', '--json');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(json[1]).toMatchObject({ ...known, ...more });
  };
  const { pid } = guest;
  await expectShown({ state: 'running', pid, problem: null });
  await guest.mconsole('stop');
  await expectShown({ state: 'stopped', pid });
  expect((await run('status')).stdout).toMatch(/debian +stopped +/);
  await guest.mconsole('go');
  await expectShown({ state: 'running' });
  process.kill(pid, 'SIGSTOP');
  await expectShown({ state: 'unreachable', pid, problem: { code: 'GuestNotAnswering' } });
  process.kill(pid, 'SIGCONT');
  await guest.kill();
  await expectShown({ state: 'notRunning', pid: null, problem: null });
});
