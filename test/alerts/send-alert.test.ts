import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Alert } from '../../src/alerts/alert.js';
import { AlertPost } from '../../src/alerts/alert-post.js';
import { mailOf, sendAlert, sendPing } from '../../src/alerts/send-alert.js';
import type { AlertConfig } from '../../src/config/alert-config.js';
import { explainError } from '../../src/error-text.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

/** Each way of telling somebody, against a real program and a real server. */

const alert: Alert = {
  ...{ kind: 'failure', guest: 'debian', job: '20261128T031500Z-7f3a2c', at: '2026-11-28T03:15:04.000Z' },
  ...{ subject: 'umlsnap: debian: backup failed', text: 'Store local has no room left.\nFree some.' },
};
const { signal } = new AbortController();

let dir: string;
let server: Server;
let asked: { method: string | undefined; url: string | undefined; body: string }[];
let answers: number[];
beforeEach(async () => {
  dir = await makeTempDir();
  asked = [];
  answers = [];
  server = createServer(async (request, response) => {
    const { method, url } = request;
    asked.push({ method, url, body: await text(request) });
    response.writeHead(answers.shift() ?? 200).end();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
});
afterEach(async () => {
  server.closeAllConnections();
  await once(server.close(), 'close');
  await removeTempDir(dir);
});

const address = (path: string) => `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;
const on: ('failure' | 'recovery')[] = ['failure', 'recovery'];

async function program(script: string): Promise<[string]> {
  const path = join(dir, 'tell');
  await writeFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return [path];
}

test('a program gets the alert as JSON, and what matters most in its environment', async () => {
  const out = join(dir, 'out');
  const command = await program(`{ echo "$UMLSNAP_ALERT $UMLSNAP_GUEST $UMLSNAP_JOB"; cat; } > ${out}`);
  await sendAlert({ by: 'command', command, on }, alert, signal);
  const [environment, ...json] = (await readFile(out, 'utf8')).split('\n');
  expect(environment).toBe('failure debian 20261128T031500Z-7f3a2c');
  expect(JSON.parse(json.join('\n'))).toEqual(alert);
});

test('a webhook gets it by POST; what it refuses is an error that does not tell its path', async () => {
  const way: AlertConfig = { by: 'webhook', address: address('/secret?token=s3cret'), on };
  await sendAlert(way, alert, signal);
  expect(asked).toEqual([{ method: 'POST', url: '/secret?token=s3cret', body: JSON.stringify(alert) }]);
  answers = [500];
  const error = await sendAlert(way, alert, signal).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'AlertFailed', facts: { problem: 'it answered 500' } });
  expect(explainError(error)).not.toContain('s3cret');
});

test('a dead man’s switch is told of start, success and failure, by the address that it gave', async () => {
  await sendPing(address('/ping/8d9f?rid=1'), 'start', '', signal);
  await sendPing(address('/ping/8d9f'), 'success', 'done', signal);
  await sendPing(address('/ping/8d9f/'), 'fail', 'The store is full.', signal);
  expect(asked.map(({ url, body }) => [url, body])).toEqual([
    ['/ping/8d9f/start?rid=1', ''],
    ['/ping/8d9f', 'done'],
    ['/ping/8d9f/fail', 'The store is full.'],
  ]);
});

test('a mail has one line for each header, whatever a guest has said', () => {
  const mail = mailOf('root', { ...alert, subject: 'x\r\nBcc: all@example.org', text: 'a\n.\nb' });
  const [head = '', ...body] = mail.split('\n\n');
  expect(head.split('\n')).toContain('Subject: x Bcc: all@example.org');
  expect(head).not.toMatch(/^Bcc:/m);
  expect(body.join('\n\n')).toContain('a\n.\nb');
  expect(mailOf('root', { ...alert, subject: 'é' })).toContain('Subject: =?UTF-8?B?w6k=?=');
});

/** An alert's way, and what could not be sent by it. */
function postBy(way: AlertConfig): { post: AlertPost; reported: unknown[] } {
  const reported: unknown[] = [];
  const report = (error: unknown) => void reported.push(error);
  return { post: new AlertPost({ ways: () => [way], report, retryAfterMs: [1, 1] }), reported };
}

test('an alert that could not be sent is tried again; after the last try it is reported', async () => {
  const { post, reported } = postBy({ by: 'webhook', address: address('/hook'), on });
  answers = [500, 503, 200];
  post.send(alert);
  post.send({ ...alert, kind: 'warning' });
  await post.close(30_000);
  expect(asked).toHaveLength(3);
  expect(reported).toEqual([]);
  answers = [500, 503, 404];
  post.send(alert);
  await post.close(30_000);
  expect(reported).toMatchObject([{ code: 'AlertFailed', facts: { problem: 'it answered 404' } }]);
});

test('an alert that nobody takes does not hold up the end of a daemon', async () => {
  const { post, reported } = postBy({ by: 'command', command: await program('exec sleep 1000'), on });
  post.send(alert);
  await post.close(200);
  expect(reported).toMatchObject([{ code: 'AlertFailed' }]);
});
