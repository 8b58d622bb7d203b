import { chmod, mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { historyContract } from '../contracts/history-contract.js';
import { historyOverviewContract } from '../contracts/history-overview-contract.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { jobStart, snapshot } from './records-of-tests.js';

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await makeTempDir();
  path = join(directory, 'state', 'history.db');
});
afterEach(() => removeTempDir(directory));

describe('the history in SQLite', () => {
  for (const contract of [historyContract, historyOverviewContract]) contract(() => SqliteHistory.open(path));
});

describe('the file', () => {
  let history: SqliteHistory;
  beforeEach(async () => {
    history = await SqliteHistory.open(path);
  });
  afterEach(() => history.close());

  it('keeps the row of a removed snapshot, with the first reason', async () => {
    const removal = { removedAt: '2026-11-28T00:00:00.000Z', reason: 'expired' };
    await history.recordSnapshot(snapshot('debian@1'));
    await history.forgetSnapshot('local', 'debian@1', removal);
    await history.forgetSnapshot('local', 'debian@1', { ...removal, reason: 'again' });
    const database = new DatabaseSync(path);
    const row = database.prepare('select removed_at, removal_reason from snapshots').get();
    database.close();
    expect(row).toEqual({ removed_at: removal.removedAt, removal_reason: 'expired' });
  });

  const modeOf = async (of: string) => (await stat(of)).mode & 0o777;

  it('and all that lies beside it is for its owner only, also where others could read it before', async () => {
    await history.recordSlot('debian', 'x');
    expect(await modeOf(join(directory, 'state'))).toBe(0o700);
    for (const suffix of ['', '-wal', '-shm']) expect(await modeOf(`${path}${suffix}`)).toBe(0o600);
    history.close();
    await chmod(path, 0o644);
    history = await SqliteHistory.open(path);
    expect(await modeOf(path)).toBe(0o600);
  });

  it('is opened again with what was in it, also to read only', async () => {
    await history.startJob(jobStart('a'));
    history.close();
    history = await SqliteHistory.open(path, { readOnly: true });
    expect((await history.jobs({})).length).toBe(1);
    await expect(history.startJob(jobStart('b'))).rejects.toMatchObject({ code: 'HistoryUnusable' });
  });

  it('is not made by somebody who only reads', async () => {
    const absent = join(directory, 'absent.db');
    const facts = { path: absent, problem: 'it does not exist' };
    const reading = SqliteHistory.open(absent, { readOnly: true });
    await expect(reading).rejects.toMatchObject({ code: 'HistoryUnusable', facts });
  });

  it('is left alone when a newer umlsnap has written it', async () => {
    history.close();
    const database = new DatabaseSync(path);
    database.exec("insert into kysely_migration values ('9999-from-the-future', '2030-01-01')");
    database.close();
    const problem = expect.stringContaining('9999-from-the-future');
    await expect(SqliteHistory.open(path)).rejects.toMatchObject({
      code: 'HistoryUnusable',
      facts: { problem },
    });
  });

  it('is refused when it is none', async () => {
    const text = join(directory, 'text.db');
    await writeFile(text, 'this is a text and no database. '.repeat(300));
    const asDirectory = join(directory, 'directory.db');
    await mkdir(asDirectory);
    for (const wrong of [text, asDirectory]) {
      const facts = { path: wrong };
      await expect(SqliteHistory.open(wrong)).rejects.toMatchObject({ code: 'HistoryUnusable', facts });
    }
  });
});
