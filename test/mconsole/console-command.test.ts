import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { withAbsoluteDisks } from '../../src/mconsole/absolute-disks.js';
import { logRequests, readConsoleLine } from '../../src/mconsole/console-command.js';
import { completeConsoleLine } from '../../src/mconsole/console-completion.js';
import { maxCommandBytes } from '../../src/mconsole/packet.js';
import { withTempDir } from '../support/temp-dir.js';

// What each of them does at a real guest stands in guests/mconsole.test.ts.
test.each([
  [' \t', { kind: 'nothing' }],
  ['quitter', { kind: 'send', command: 'quitter' }],
  ['switch  debian ', { kind: 'switch', to: 'debian' }],
  ['log', { kind: 'log', text: '' }],
  ['log -f /tmp/a b', { kind: 'logFile', path: '/tmp/a b' }],
  ['log -force', { kind: 'log', text: '-force' }],
  ['logs', { kind: 'send', command: 'logs' }],
  ['config ubd0=a,b ', { kind: 'send', command: 'config ubd0=a,b' }],
  [' version', { kind: 'send', command: ' version' }],
])('a line at the console is read: %j', (line, command) => {
  expect(readConsoleLine(line)).toEqual(command);
});

describe('a text for the kernel log', () => {
  test('that fits into one request is cut nowhere, and one that does not between its lines', () => {
    const line = `${'x'.repeat(252)}\n`;
    expect(logRequests(line + line)).toEqual([`log ${line}${line}`]);
    expect(logRequests(`yy${line}${line}`)).toEqual([`log yy${line}`, `log ${line}`]);
  });

  test('arrives whole whatever is in it, in requests that a guest takes, and never half a character', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary', maxLength: 400 }), { maxLength: 8 }), (lines) => {
        const text = lines.join('\n');
        const requests = logRequests(text);
        const arrived = requests.map((request) => request.slice('log '.length)).join('');
        expect(arrived).toBe(text.endsWith('\n') ? text : `${text}\n`);
        for (const request of requests) {
          expect(Buffer.byteLength(request)).toBeLessThanOrEqual(maxCommandBytes);
          expect(Buffer.from(request).toString()).toBe(request);
        }
      }),
    );
  });
});

test.each([
  ['s', ['stop', 'sysrq ', 'stack ', 'switch '], 's'],
  ['switch de', ['debian', 'devuan'], 'de'],
  ['proc upt', ['uptime'], 'upt'],
  ['sysrq s', ['s'], 's'],
  ['log -', ['log -f '], 'log -'],
  ['dance ', [], ''],
])('%j is completed', (line, candidates, replaced) => {
  expect(completeConsoleLine(line, ['debian', 'devuan'])).toEqual([candidates, replaced]);
});

const here = process.cwd();

test.each([
  ['config ubd3=root.img', `config ubd3=${here}/root.img`],
  ['config ubd3=a.cow,test/../b.img', `config ubd3=${here}/a.cow,${here}/b.img`],
  ['config ubd3=/nowhere-at-all/root.img', 'config ubd3=/nowhere-at-all/root.img'],
  ['config ubd3=nowhere-at-all/root.img', 'config ubd3=nowhere-at-all/root.img'],
  ['config ubd3=', 'config ubd3='],
  ['config ubd3', 'config ubd3'],
  ['config eth0=tuntap,tap0', 'config eth0=tuntap,tap0'],
  ['log config ubd3=root.img', 'log config ubd3=root.img'],
])('a relative path in %j is what it is here', async (command, sent) => {
  expect(await withAbsoluteDisks(command)).toBe(sent);
});

test('a directory behind a link is named as what it is, for the guest may see it elsewhere', async () => {
  await withTempDir(async (dir) => {
    await mkdir(join(dir, 'real'));
    await symlink('real', join(dir, 'link'));
    expect(await withAbsoluteDisks(`config ubd1=${dir}/link/a.img`)).toBe(`config ubd1=${dir}/real/a.img`);
  });
});
