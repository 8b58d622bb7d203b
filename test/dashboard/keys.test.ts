import { chmod, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Keys } from '../../src/dashboard/keys.js';
import { LoginCodes } from '../../src/dashboard/login-codes.js';
import { readToken } from '../../src/dashboard/token-file.js';
import { withTempDir } from '../support/temp-dir.js';

const keys = new Keys('a'.repeat(43));
const now = new Date('2026-11-28T00:00:00Z');
const later = new Date('2026-11-29T00:00:00Z');

describe('a cookie', () => {
  const session = keys.newSession(later);

  test('is good until its time, for whoever has the same secret', () => {
    expect(new Keys('a'.repeat(43)).isSession(session, now)).toBe(true);
    expect(keys.isSession(session, later)).toBe(false);
    expect(new Keys('b'.repeat(43)).isSession(session, now)).toBe(false);
  });

  test('can be changed in no place, not to live longer either', () => {
    const changed = [...session].map((letter, index) =>
      [session.slice(0, index), letter === 'z' ? 'y' : 'z', session.slice(index + 1)].join(''),
    );
    for (const other of [...changed, `z${session}`, '']) expect(keys.isSession(other, now)).toBe(false);
  });

  test('is not what a form shows, and a form of one is none of another', () => {
    const form = keys.formToken(session);
    expect(keys.isFormToken(form, session)).toBe(true);
    for (const other of [undefined, keys.newSession(later)])
      expect(keys.isFormToken(form, other)).toBe(false);
    expect(keys.isFormToken('', undefined)).toBe(false);
  });
});

test('a token that is cut or empty proves nothing', () => {
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
  const isRefused = (path: string, problem: RegExp) => {
    const facts = expect.objectContaining({ problem: expect.stringMatching(problem) });
    expect(() => readToken(path)).toThrow(expect.objectContaining({ code: 'DashboardUnusable', facts }));
  };

  test('is made once, for its owner alone, and nothing else is left; it is refused where others may read it, and where it holds no secret', () =>
    withTempDir(async (dir) => {
      const path = join(dir, 'token');
      const token = readToken(path);
      expect(token).toMatch(/^[\w-]{43}$/);
      expect(readToken(path)).toBe(token);
      expect(await readFile(path, 'utf8')).toBe(`${token}\n`);
      expect(await readdir(dir)).toEqual(['token']);
      await chmod(path, 0o640);
      isRefused(path, /others may read or write it: chmod 600/);
      await chmod(path, 0o600);
      for (const content of ['', 'short', `${'a'.repeat(40)} b`, 'a'.repeat(5000)]) {
        await writeFile(path, content);
        isRefused(path, /must hold one word|too large/);
      }
    }));

  test('is no link to somewhere else, and no directory', () =>
    withTempDir(async (dir) => {
      await symlink('/etc/passwd', join(dir, 'token'));
      isRefused(join(dir, 'token'), /ELOOP/);
      isRefused(dir, /not a regular file/);
    }));
});
