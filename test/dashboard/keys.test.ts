import { chmod, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { Keys } from '../../src/dashboard/keys.js';
import { LoginCodes } from '../../src/dashboard/login-codes.js';
import { type Session, Sessions, sessionMs } from '../../src/dashboard/sessions.js';
import { readToken } from '../../src/dashboard/token-file.js';
import { withTempDir } from '../support/temp-dir.js';

const keys = new Keys('a'.repeat(43));
describe('a session', () => {
  test('is open to whoever has its secret, until it is ended, by its time or by others after it', () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const ended: string[] = [];
    const sessions = new Sessions((id) => ended.push(id));
    const [one, other] = [sessions.begin(), sessions.begin()];
    const isOpen = ({ id, secret }: Session) => sessions.isOpen(id, ['of another daemon', secret]);
    expect([one, other].map(isOpen)).toEqual([true, true]);
    for (const secret of [other.secret, one.id, '', one.secret.slice(1)])
      expect(sessions.isOpen(one.id, [secret])).toBe(false);
    sessions.end(one.id);
    expect([one, other].map(isOpen)).toEqual([false, true]);
    vi.advanceTimersByTime(sessionMs);
    expect(isOpen(other)).toBe(false);
    const oldest = sessions.begin();
    for (let count = 0; count < 256; count++) sessions.begin();
    expect(isOpen(oldest)).toBe(false);
    expect(ended).toEqual([one.id, other.id, oldest.id]);
  });

  test('has forms that are none of another', () => {
    const form = keys.formToken('a');
    expect(keys.isFormToken(form, 'a')).toBe(true);
    for (const other of [undefined, 'b']) expect(keys.isFormToken(form, other)).toBe(false);
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
      isRefused(join(dir, 'token'), /it is a symbolic link/);
      isRefused(dir, /not a regular file/);
    }));
});
