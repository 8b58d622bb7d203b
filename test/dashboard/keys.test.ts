import { chmod, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Keys } from '../../src/dashboard/keys.js';
import { LoginCodes } from '../../src/dashboard/login-codes.js';
import { readToken } from '../../src/dashboard/token-file.js';
import { isError } from '../../src/errors.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

const now = new Date('2026-11-28T00:00:00Z');
const later = new Date('2026-11-29T00:00:00Z');

describe('a cookie', () => {
  const keys = new Keys('a'.repeat(43));
  const session = keys.newSession(later);

  test('is good until its time, for whoever has the same secret', () => {
    expect(keys.isSession(session, now)).toBe(true);
    expect(new Keys('a'.repeat(43)).isSession(session, now)).toBe(true);
    expect(keys.isSession(session, later)).toBe(false);
    expect(new Keys('b'.repeat(43)).isSession(session, now)).toBe(false);
  });

  test('can be changed in no place, not to live longer either', () => {
    for (let index = 0; index < session.length; index++) {
      const other = session[index] === 'z' ? 'y' : 'z';
      expect(keys.isSession(session.slice(0, index) + other + session.slice(index + 1), now)).toBe(false);
    }
    expect(keys.isSession(`z${session}`, now)).toBe(false);
    expect(keys.isSession('', now)).toBe(false);
  });

  test('is not what a form shows, and a form of one is none of another', () => {
    const form = keys.formToken(session);
    expect(keys.isFormToken(form, session)).toBe(true);
    for (const other of [undefined, keys.newSession(later)])
      expect(keys.isFormToken(form, other)).toBe(false);
    expect(keys.isFormToken('', undefined)).toBe(false);
  });
});

test('the token of a scraper is made from the secret, and proves less', () => {
  const keys = new Keys('a'.repeat(43));
  expect(keys.whatProves('a'.repeat(43))).toBe('act');
  expect(keys.whatProves(keys.scrapeToken)).toBe('scrape');
  expect(keys.whatProves('a'.repeat(42))).toBeNull();
  expect(keys.whatProves('')).toBeNull();
});

test('a login link works once, and not for long', () => {
  let nowMs = 0;
  const codes = new LoginCodes(() => nowMs);
  const [first, second] = [codes.make(), codes.make()];
  expect([codes.use(first), codes.use(first), codes.use('')]).toEqual([true, false, false]);
  nowMs = 5 * 60_000;
  expect(codes.use(second)).toBe(false);
  const old = codes.make();
  for (let count = 0; count < 32; count++) codes.make();
  expect(codes.use(old)).toBe(false);
});

describe('the token file', () => {
  let dir: string;
  let path: string;
  beforeEach(async () => {
    dir = await makeTempDir();
    path = join(dir, 'token');
  });
  afterEach(() => removeTempDir(dir));

  const problem = () => {
    try {
      readToken(path);
    } catch (error) {
      if (isError(error, 'DashboardUnusable')) return error.facts.problem;
      throw error;
    }
    return 'none';
  };

  test('is made once, for its owner alone, and nothing else is left', async () => {
    const token = readToken(path);
    expect(token).toMatch(/^[\w-]{43}$/);
    expect(readToken(path)).toBe(token);
    expect(await readFile(path, 'utf8')).toBe(`${token}\n`);
    expect(await readdir(dir)).toEqual(['token']);
  });

  test('is refused where others may read it, and where it holds no secret', async () => {
    readToken(path);
    await chmod(path, 0o640);
    expect(problem()).toMatch(/others may read or write it: chmod 600/);
    await chmod(path, 0o600);
    for (const content of ['', 'short', `${'a'.repeat(40)} b`, 'a'.repeat(5000)]) {
      await writeFile(path, content);
      expect(problem()).toMatch(/must hold one word|too large/);
    }
  });

  test('is no link to somewhere else, and no directory', async () => {
    await symlink('/etc/passwd', path);
    expect(problem()).toMatch(/ELOOP/);
    path = dir;
    expect(problem()).toMatch(/not a regular file/);
  });
});
