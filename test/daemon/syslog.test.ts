import { join } from 'node:path';
import { pino, stdTimeFunctions } from 'pino';
import { createSocket } from 'unix-dgram';
import { describe, expect, test } from 'vitest';
import { formatSyslog, sendToSyslog, syslogStream } from '../../src/daemon/syslog.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** Runs `use` with a socket that hears each datagram as a line. */
const withListener = (use: (path: string, lines: string[]) => unknown) =>
  withTempDir(async (dir) => {
    const lines: string[] = [];
    const listener = createSocket('unix_dgram');
    listener.on('message', (datagram) => lines.push(datagram.toString()));
    listener.bind(join(dir, 'log'));
    try {
      await use(join(dir, 'log'), lines);
    } finally {
      listener.close();
    }
  });

const formatted = (severity: 'critical' | 'error', text: string) =>
  formatSyslog({ severity, at: new Date(2026, 10, 1, 3, 5, 9), pid: 123, text });

describe('syslog', () => {
  test('gets facility daemon, the time in its old form, and our name with the pid', () => {
    const line = '<27>Nov  1 03:05:09 umlsnap[123]: backup failed';
    expect(formatted('error', 'backup failed').toString()).toBe(line);
  });

  test('gets one line of at most 1024 bytes, whatever the text is', () => {
    const hostile = `first\n<0>Nov  1 03:05:09 kernel: forged\u001b[2J${'ä'.repeat(2000)}`;
    const line = formatted('error', hostile);
    expect(line.length).toBeLessThanOrEqual(1024);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
    expect(line.toString()).not.toMatch(/[\u0000-\u001f\ufffd]/);
  });

  test('hears errors and worse with their facts, and nothing below', () =>
    withListener(async (path, lines) => {
      const log = pino(
        { level: 'debug', base: null, timestamp: stdTimeFunctions.isoTime },
        pino.multistream([{ level: 'error', stream: syslogStream(path) }]),
      );
      log.info('daemon runs');
      log.warn('careful');
      const error = { code: 'Busy', message: 'somebody works on it' };
      log.error({ guest: 'debian', error }, 'backup failed');
      log.fatal({ guest: 'debian' }, 'GUEST MAY BE PAUSED');
      await waitFor('the syslog to hear it', () => lines.length >= 2);
      expect(lines).toEqual([
        expect.stringMatching(
          /^<27>\w{3} [ \d]\d \d\d:\d\d:\d\d umlsnap\[\d+\]: backup failed guest=debian error=Busy: somebody works on it$/,
        ),
        expect.stringMatching(/^<26>.*: GUEST MAY BE PAUSED guest=debian$/),
      ]);
    }));

  test('is nothing to worry about where there is none, where it is full, or where nobody listens', async () => {
    await withListener((path) => {
      sendToSyslog(Buffer.from('x'), `${path}.none`);
      // Nobody reads while this loop runs: a queue has room for some hundreds at most.
      for (let count = 0; count < 2000; count++) sendToSyslog(Buffer.alloc(100), path);
    });
    await withTempDir(async (dir) => {
      const deaf = createSocket('unix_dgram');
      deaf.bind(join(dir, 'log'));
      deaf.close();
      sendToSyslog(Buffer.from('x'), join(dir, 'log'));
    });
  });
});
