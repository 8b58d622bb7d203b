import { openSync, renameSync } from 'node:fs';
import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { problemOf } from '../src/errors.js';

function thrownBy(act: () => unknown): unknown {
  try {
    return act();
  } catch (error) {
    return error;
  }
}
const told = (message: string, code: string) => problemOf(Object.assign(new Error(message), { code }));

test('what the system says is told in words, with the path that it is about, and never as a code', async () => {
  expect(problemOf(thrownBy(() => openSync('/nonexistent/x', 'r')))).toBe(
    'there is no such file or directory (/nonexistent/x)',
  );
  expect(problemOf(thrownBy(() => renameSync('/nonexistent/x', '/y')))).toBe(
    'there is no such file or directory (/nonexistent/x -> /y)',
  );
  const refused = await new Promise((resolve) => connect('/nonexistent/s').on('error', resolve));
  expect(problemOf(refused)).toBe('there is no such file or directory (/nonexistent/s)');
});

test.each([
  ["EACCES: permission denied, open '/proc/self/fd/21/a, b'", 'EACCES', 'access is denied (a, b)'],
  ["EROFS: read-only file system, mkdir '/proc/self/fd/21'", 'EROFS', 'the filesystem is read-only'],
  ['connect ECONNREFUSED 127.0.0.1:80', 'ECONNREFUSED', 'nobody listens there (127.0.0.1:80)'],
  ['listen EADDRINUSE: address already in use :::80', 'EADDRINUSE', 'the address is in use already (:::80)'],
  ['getaddrinfo ENOTFOUND x.example', 'ENOTFOUND', 'there is no host of that name (x.example)'],
  ['read ECONNRESET', 'ECONNRESET', 'the connection was broken off'],
  ['EIO: fsync', 'EIO', 'an I/O error'],
  ['ENOSPC: ioctl(FICLONE)', 'ENOSPC', 'there is no room left'],
  ['EDEADLK: fcntl', 'EDEADLK', 'EDEADLK: fcntl'],
])('%s', (message, code, words) => {
  expect(told(message, code)).toBe(words);
});

test.each([
  ['EFBIG: a file of 9 bytes is too large, fstat', 'EFBIG', 'a file of 9 bytes is too large'],
  ['EBADMSG: it goes on beyond its 5 bytes, read', 'EBADMSG', 'it goes on beyond its 5 bytes'],
  ['/s is not a directory', 'ENOTDIR', '/s is not a directory'],
])('what was in words already stays in these: %s', (message, code, words) => {
  expect(told(message, code)).toBe(words);
});
