import { chmod, copyFile, mkdir, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { historyContract } from '../contracts/history-contract.js';
import { withOpen } from '../image/make-image.js';
import { callsUnderFault } from '../support/each-call.js';
import { roundsOr } from '../support/rounds.js';
import { startScript } from '../support/script-child.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { inSqlite, integrityOf, jobStart, phase, snapshot } from './records-of-tests.js';

let directory: string;
let path: string;
const opened: SqliteHistory[] = [];
beforeEach(async () => {
  directory = await makeTempDir();
  path = join(directory, 'state', 'history.db');
});
afterEach(async () => {
  for (const history of opened.splice(0)) history.close();
  await removeTempDir(directory);
});

/** Closed after the test, if not before. */
async function open(options: Parameters<typeof SqliteHistory.open>[1] = {}, at = path) {
  const history = await SqliteHistory.open(at, options);
  opened.push(history);
  return history;
}
const unusable = (facts: object) => ({ code: 'HistoryUnusable', facts });

describe('the history in SQLite', () => historyContract(open));

describe('the file', () => {
  it('keeps the row of a removed snapshot, with the first reason', async () => {
    const history = await open();
    const removal = { removedAt: '2026-11-28T00:00:00.000Z', reason: 'expired' };
    await history.recordSnapshot(snapshot('debian@1'));
    await history.forgetSnapshot('local', 'debian@1', removal);
    await history.forgetSnapshot('local', 'debian@1', { ...removal, reason: 'again' });
    const select = 'select removed_at, removal_reason from snapshots';
    const row = inSqlite(path, (database) => database.prepare(select).get());
    expect(row).toEqual({ removed_at: removal.removedAt, removal_reason: 'expired' });
  });

  const modeOf = async (of: string) => (await stat(of)).mode & 0o777;

  it('and all that lies beside it is for its owner only, also where others could read it before', async () => {
    const history = await open();
    await history.recordSlot('debian', 'x');
    expect(await modeOf(join(directory, 'state'))).toBe(0o700);
    for (const suffix of ['', '-wal', '-shm']) expect(await modeOf(`${path}${suffix}`)).toBe(0o600);
    history.close();
    await chmod(path, 0o644);
    await open();
    expect(await modeOf(path)).toBe(0o600);
  });

  it('is opened again with what was in it, also to read only', async () => {
    const written = await open();
    await written.startJob(jobStart('a'));
    written.close();
    const history = await open({ readOnly: true });
    expect((await history.jobs({})).length).toBe(1);
    await expect(history.startJob(jobStart('b'))).rejects.toMatchObject({ code: 'HistoryUnusable' });
  });

  it('is not made by somebody who only reads', async () => {
    await expect(open({ readOnly: true })).rejects.toMatchObject(
      unusable({ path, problem: 'it does not exist' }),
    );
  });

  it('is left alone when a newer umlsnap has written it', async () => {
    (await open()).close();
    const insert = "insert into kysely_migration values ('9999-from-the-future', '2030-01-01')";
    inSqlite(path, (database) => database.exec(insert));
    const problem = expect.stringContaining('9999-from-the-future');
    await expect(open()).rejects.toMatchObject(unusable({ problem }));
  });

  it('is refused when it is none', async () => {
    const text = join(directory, 'text.db');
    await writeFile(text, 'this is a text and no database. '.repeat(300));
    const asDirectory = join(directory, 'directory.db');
    await mkdir(asDirectory);
    for (const wrong of [text, asDirectory])
      await expect(open({}, wrong)).rejects.toMatchObject(unusable({ path: wrong }));
  });

  it('is refused at the start or at the first read, wherever its pages were overwritten, or where it was cut short', async () => {
    await fill();
    const pages = (await stat(path)).size / 4096;
    let refused = 0;
    for (let page = 0; page < pages; page++) {
      const damaged = join(directory, `page-${page}.db`);
      await copyFile(path, damaged);
      await withOpen(damaged, 'r+', (file) => file.write(Buffer.alloc(4096, 0xa5), 0, 4096, page * 4096));
      const failure = await useAll(damaged).catch((error: unknown) => error);
      if (failure === undefined) continue;
      expect(failure).toMatchObject(unusable({ path: damaged }));
      refused++;
    }
    // A page that no query reads (an index, most of all) may go unnoticed; those with the rows don't.
    expect(refused).toBeGreaterThan(pages / 2);
    await truncate(path, Math.floor(pages / 2) * 4096);
    await expect(useAll(path)).rejects.toMatchObject(unusable({ path }));
  });
});

async function fill(): Promise<void> {
  const history = await open();
  for (let number = 0; number < 200; number++) {
    await history.startJob(jobStart(`job-${number}`));
    await history.recordPhase(`job-${number}`, phase('preflight', { facts: { text: 'x'.repeat(200) } }));
  }
  history.close();
  // All of it into the file itself, and nothing left beside it.
  inSqlite(path, (database) => database.exec('pragma wal_checkpoint(truncate)'));
}

/** Asks a history all that it can be asked. */
async function useAll(of: string): Promise<void> {
  const history = await open({}, of);
  for (const job of await history.jobs({})) await history.job(job.job);
  await history.snapshots({});
  await history.events({ limit: 10 });
  await history.verifications({});
  await history.drills();
  await history.lastSweep('local', 'debian');
  await history.lastSlots();
  await history.openPauses();
  await history.jobTotals();
  await history.pauseTotals();
  await history.recentBackups(['debian'], 30);
}

const child = (action: 'open' | 'write', name: string, count: number) =>
  startScript(new URL('./history-child.ts', import.meta.url), [action, path, name, String(count)]);

/** Has one child of each name write so many jobs, all at the same time. */
async function writeAtOnce(action: 'open' | 'write', names: string[], count: number) {
  const children = names.map((name) => child(action, name, count));
  for (const each of children) await each.waitForLine('ready');
  for (const each of children) each.go();
  for (const each of children) expect(await each.exited).toMatchObject({ exitCode: 0 });
}

describe('a history that several processes work on', () => {
  it('is created and migrated once when several of them open it at the same time', async () => {
    await writeAtOnce('open', ['a', 'b', 'c', 'd', 'e'], 1);
    const jobs = await (await open()).jobs({});
    expect(jobs.map(({ job }) => job).sort()).toEqual(['a-0', 'b-0', 'c-0', 'd-0', 'e-0']);
  });

  it('loses no row of any of them', async () => {
    await writeAtOnce('write', ['a', 'b', 'c'], 60);
    const history = await open();
    const found = await history.jobs({});
    expect(found).toHaveLength(3 * 60);
    for (const { job } of found) {
      const phases = [{ phase: 'preflight' }, { phase: 'stop' }];
      expect(await history.job(job)).toMatchObject({ status: 'success', phases });
    }
  });

  it('has every acknowledged row after kill -9 of the writer at any moment, a commit too, again and again (fault 54)', async () => {
    const acknowledged: string[] = [];
    const rounds = roundsOr(6);
    for (let round = 0; round < rounds; round++) {
      const writer = child('write', `r${round}`, 100_000);
      await writer.waitForLine('ready');
      writer.go();
      await waitFor('some acknowledged rows', () => writer.lines.length > 1 + round * 3, { everyMs: 1 });
      writer.kill('SIGKILL');
      expect((await writer.exited).signal).toBe('SIGKILL');
      acknowledged.push(...writer.lines.filter((line) => line !== 'ready'));
    }
    const history = await open();
    const finished = new Set((await history.jobs({ status: 'success' })).map((job) => job.job));
    expect(acknowledged.filter((job) => !finished.has(job))).toEqual([]);
    // At most the one job of each round that the kill fell into.
    expect((await history.runningJobs()).length).toBeLessThanOrEqual(rounds);
    history.close();
    expect(integrityOf(path)).toBe('ok');
  }, 300_000);

  it('has every write on the disk before it acknowledges it', async () => {
    const writer = child('write', 'a', 10);
    await writer.waitForLine('ready');
    const { result, count } = await callsUnderFault(writer.pid, 'fsync,fdatasync', () => {
      writer.go();
      return writer.exited;
    });
    expect(result).toMatchObject({ exitCode: 0 });
    // Four transactions a job; synchronous=NORMAL would have none but the checkpoint's.
    expect(count).toBeGreaterThanOrEqual(40);
  });
});

describe('a history that another process has locked', () => {
  let other: DatabaseSyncInstance;
  async function openLocked(options = {}): Promise<SqliteHistory> {
    const history = await open(options);
    other = new DatabaseSync(path);
    other.exec('begin immediate');
    return history;
  }
  afterEach(() => other.close());

  it('is waited for without blocking this process, and then written to', async () => {
    const history = await openLocked();
    const acknowledge = vi.fn();
    const write = history.recordSlot('debian', 'x').then(acknowledge);
    let turns = 0;
    await waitFor('the event loop to go on turning', () => ++turns > 30, { everyMs: 5 });
    expect(acknowledge).not.toHaveBeenCalled();
    other.exec('rollback');
    await write;
    expect(await history.lastSlot('debian')).toBe('x');
  });

  it('is given up after the limit with its own error, and is as it was', async () => {
    const history = await openLocked({ lockWaitMs: 100 });
    await expect(history.recordSlot('debian', 'x')).rejects.toMatchObject({ code: 'HistoryLocked' });
    // Readers don't wait for the writer.
    expect(await history.lastSlot('debian')).toBeNull();
    other.exec('rollback');
    await history.recordSlot('debian', 'y');
    expect(await history.lastSlot('debian')).toBe('y');
  });
});
