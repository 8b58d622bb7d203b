import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { logRequests, readConsoleLine } from '../../src/mconsole/console-command.js';
import { completeConsoleLine } from '../../src/mconsole/console-completion.js';
import { maxCommandBytes } from '../../src/mconsole/packet.js';

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
