import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { logRequests, readConsoleLine } from '../../src/mconsole/console-command.js';
import { completeConsoleLine } from '../../src/mconsole/console-completion.js';
import { maxCommandBytes } from '../../src/mconsole/packet.js';

describe('a line at the console', () => {
  test.each([
    ['', { kind: 'nothing' }],
    [' \t', { kind: 'nothing' }],
    ['quit', { kind: 'quit' }],
    ['quitter', { kind: 'send', command: 'quitter' }],
    ['help ', { kind: 'help' }],
    ['mconsole-version', { kind: 'clientVersion' }],
    ['int', { kind: 'interrupt' }],
    ['switch  debian ', { kind: 'switch', to: 'debian' }],
    ['log hello  there', { kind: 'log', text: 'hello  there' }],
    ['log', { kind: 'log', text: '' }],
    ['log -f /tmp/a b', { kind: 'logFile', path: '/tmp/a b' }],
    ['log -force', { kind: 'log', text: '-force' }],
    ['logs', { kind: 'send', command: 'logs' }],
    ['config ubd0=a,b ', { kind: 'send', command: 'config ubd0=a,b' }],
    [' version', { kind: 'send', command: ' version' }],
  ])('%j', (line, command) => {
    expect(readConsoleLine(line)).toEqual(command);
  });
});

describe('a text for the kernel log', () => {
  test('ends its last line, also where there is nothing else in it', () => {
    expect(logRequests('')).toEqual(['log \n']);
    expect(logRequests('hello')).toEqual(['log hello\n']);
    expect(logRequests('hello\n')).toEqual(['log hello\n']);
  });

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
        expect(requests.map((request) => request.slice('log '.length)).join('')).toBe(
          text.endsWith('\n') ? text : `${text}\n`,
        );
        for (const request of requests) {
          expect(Buffer.byteLength(request)).toBeLessThanOrEqual(maxCommandBytes);
          expect(Buffer.from(request).toString()).toBe(request);
        }
      }),
    );
  });
});

describe('completion', () => {
  const complete = (line: string) => completeConsoleLine(line, ['debian', 'devuan']);

  test.each([
    ['ver', ['version'], 'ver'],
    ['s', ['stop', 'sysrq ', 'stack ', 'switch '], 's'],
    ['config ubd1', ['ubd1', 'ubd10', 'ubd11', 'ubd12', 'ubd13', 'ubd14', 'ubd15'], 'ubd1'],
    ['switch de', ['debian', 'devuan'], 'de'],
    ['proc upt', ['uptime'], 'upt'],
    ['sysrq s', ['s'], 's'],
    ['log -', ['log -f '], 'log -'],
    ['dance ', [], ''],
  ])('of %j', (line, candidates, replaced) => {
    expect(complete(line)).toEqual([candidates, replaced]);
  });
});
