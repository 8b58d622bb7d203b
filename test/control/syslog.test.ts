import { join } from 'node:path';
import { pino, stdTimeFunctions } from 'pino';
import { createSocket } from 'unix-dgram';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { formatSyslog, sendToSyslog, syslogStream } from '../../src/control/syslog.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

let dir: string;
let path: string;
beforeEach(async () => {
  dir = await makeTempDir();
  path = join(dir, 'log');
});
afterEach(() => removeTempDir(dir));

const at = new Date(2026, 10, 1, 3, 5, 9);

async function received(send: () => void, count = 1): Promise<string[]> {
  const lines: string[] = [];
  const listener = createSocket('unix_dgram');
  listener.on('message', (datagram) => lines.push(datagram.toString()));
  listener.bind(path);
  try {
    send();
    return await waitFor('the syslog to hear it', () => lines.length >= count && lines);
  } finally {
    listener.close();
  }
}

describe('syslog', () => {
  test('gets facility daemon, the time in its old form, and our name with the pid', () => {
    const line = formatSyslog({ severity: 'error', at, pid: 123, text: 'backup failed' });
    expect(line.toString()).toBe('<27>Nov  1 03:05:09 umlsnap[123]: backup failed');
    expect(formatSyslog({ severity: 'critical', at, pid: 1, text: 'x' }).toString()).toMatch(/^<26>/);
  });

  test('gets one line of at most 1024 bytes, whatever the text is', () => {
    const hostile = `first\n<0>Nov  1 03:05:09 kernel: forged\u001b[2J${'ä'.repeat(2000)}`;
    const line = formatSyslog({ severity: 'error', at, pid: 1, text: hostile });
    expect(line.length).toBeLessThanOrEqual(1024);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
    expect(line.toString()).not.toMatch(/[\u0000-\u001f\ufffd]/);
  });

  test('hears errors and worse with their facts, and nothing below', async () => {
    const lines = await received(() => {
      const log = pino(
        { level: 'debug', base: null, timestamp: stdTimeFunctions.isoTime },
        pino.multistream([{ level: 'error', stream: syslogStream(path) }]),
      );
      log.info('daemon runs');
      log.warn('careful');
      log.error(
        { guest: 'debian', error: { code: 'Busy', message: 'somebody works on it' } },
        'backup failed',
      );
      log.fatal({ guest: 'debian' }, 'GUEST MAY BE PAUSED');
    }, 2);
    expect(lines).toEqual([
      expect.stringMatching(
        /^<27>\w{3} [ \d]\d \d\d:\d\d:\d\d umlsnap\[\d+\]: backup failed guest=debian error=Busy: somebody works on it$/,
      ),
      expect.stringMatching(/^<26>.*: GUEST MAY BE PAUSED guest=debian$/),
    ]);
  });

  test('is nothing to worry about where there is none, where nobody listens, or where it is full', async () => {
    sendToSyslog(Buffer.from('x'), join(dir, 'none'));
    const listener = createSocket('unix_dgram');
    listener.on('message', () => {});
    listener.bind(path);
    // Nobody reads while this loop runs: a queue has room for some hundreds at most.
    for (let count = 0; count < 2000; count++) sendToSyslog(Buffer.alloc(100), path);
    listener.close();
    sendToSyslog(Buffer.from('x'), path);
  });
});
