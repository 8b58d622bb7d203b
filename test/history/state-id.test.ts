import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { ensureStateId, readStateId, rememberStateId, stateIdPath } from '../../src/history/state-id.js';
import { withTempDir } from '../support/temp-dir.js';

async function withState(use: (state: string, history: SqliteHistory) => Promise<void>): Promise<void> {
  await withTempDir(async (dir) => {
    const history = await SqliteHistory.open(join(dir, 'history.db'));
    try {
      await use(dir, history);
    } finally {
      history.close();
    }
  });
}

test('the id of a state is made once, also by several at a time, and outlives the loss of its file or of its history', async () => {
  await withState(async (state, history) => {
    expect(await readStateId(state)).toBeNull();
    await rememberStateId(state, history);
    expect(await history.stateId()).toBeNull();
    const forgetful = { stateId: async () => null, rememberStateId: async () => {} };
    const made = await Promise.all(Array.from({ length: 5 }, () => ensureStateId(state, forgetful)));
    const [id = ''] = made;
    expect(new Set(made)).toEqual(new Set([id]));
    // A history that was made anew knows it from the file, by whatever command.
    await rememberStateId(state, history);
    expect(await history.stateId()).toBe(id);
    for (const text of [undefined, '{"format":"umls']) {
      if (text === undefined) await rm(stateIdPath(state));
      else await writeFile(stateIdPath(state), text);
      expect(await ensureStateId(state, history)).toBe(id);
      expect(JSON.parse(await readFile(stateIdPath(state), 'utf8'))).toEqual({
        format: 'umlsnap-state/1',
        id,
      });
    }
  });
});

test('a file that can’t be read is no reason to make another id, which would give away all that is ours', async () => {
  await withState(async (state, history) => {
    await writeFile(stateIdPath(state), 'garbage');
    await expect(ensureStateId(state, history)).rejects.toMatchObject({ code: 'StateUnusable' });
    await rememberStateId(state, history);
    expect(await history.stateId()).toBeNull();
    expect(await readFile(stateIdPath(state), 'utf8')).toBe('garbage');
  });
});
