import { expect, test } from 'vitest';
import { isError } from '../../src/errors.js';
import { readGoAnswer, readStopAnswer } from '../../src/mconsole/commands.js';
import type { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import type { GarbledForm } from '../fixtures/misbehaviour.js';
import { waitFor } from '../support/wait-for.js';
import { brief, patient, setFakeGuest, withOwnGuest } from './with-client.js';

const withClient = setFakeGuest();

test('a stop that was lost on its way ends as unanswered, and not as done', () =>
  withClient([{ on: 'stop', fault: { kind: 'dropRequest' } }], async (client, guest) => {
    await expect(client.request('stop', brief)).rejects.toMatchObject({
      code: 'GuestNotAnswering',
      facts: { command: 'stop', socketPath: guest.socketPath },
    });
    expect(guest.isPaused()).toBe(false);
    expect(await readGoAnswer(client.request('go', patient))).toBe('notStopped');
  }));

test("a duplicate of an answer is not taken for the next request's", () =>
  withClient([{ fault: { kind: 'duplicateAnswer' } }], async (client) => {
    for (let round = 0; round < 5; round++) {
      expect(await client.request('config ubd0', patient)).toBe('');
      expect(await client.request('version', patient)).toContain('Linux');
      expect(await client.request('stop', patient)).toBe('stopped');
      expect(await client.request('go', patient)).toBe('');
    }
  }));

test("a late answer of the previous request is not taken for this one's", () =>
  // The first is answered only after the second; so the second was not sent before the first had ended, either.
  withClient([{ on: 'stop', fault: { kind: 'answerAfterNext' } }], async (client) => {
    const late = client.request('stop', brief);
    const next = client.request('version', patient);
    await expect(late).rejects.toMatchObject({ code: 'GuestNotAnswering' });
    expect(await next).toContain('Linux');
    expect(await client.request('config ubd0', patient)).toBe('');
  }));

test.each<GarbledForm>([
  'zeroHeader',
  'lengthZero',
  'lengthHuge',
  'moreHuge',
  'noNul',
  'headerOnly',
  'empty',
  'oversized',
  'versionText',
])('a garbled answer to go (%s) is no success, and the next one is read again', (form) =>
  withClient([{ on: 'go', times: 1, fault: { kind: 'garbledAnswer', form } }], async (client, guest) => {
    await client.request('stop', patient);
    await expect(client.request('go', patient)).rejects.toMatchObject({
      code: 'ReplyMalformed',
      facts: { command: 'go', socketPath: guest.socketPath },
    });
    expect(await readGoAnswer(client.request('go', patient))).toBe('notStopped');
  }),
);

test('an answer without an end is cut off, and does not keep the guest busy after that', () =>
  withClient([{ on: 'proc', times: 1, fault: { kind: 'endlessAnswer' } }], async (client) => {
    await expect(client.request('proc kcore', patient)).rejects.toMatchObject({ code: 'ReplyMalformed' });
    expect(await client.request('version', patient)).toContain('Linux');
  }));

test('an answer in datagrams of one byte is read whole', () =>
  withClient([{ on: 'version', fault: { kind: 'bytewiseAnswer', everyMs: 1 } }], async (client) => {
    expect(await client.request('version', patient)).toMatch(/^Linux fake .* x86_64$/);
  }));

test('an answer that drips does not move its deadline', () =>
  withClient([{ on: 'version', fault: { kind: 'bytewiseAnswer', everyMs: 20 } }], async (client) => {
    await expect(client.request('version', { timeoutMs: 200 })).rejects.toMatchObject({
      code: 'GuestNotAnswering',
    });
    expect(await client.request('config ubd0', patient)).toBe('');
  }));

test.each(['afterAnswer', 'beforeAnswer'] as const)(
  'a guest that dies of its stop, %s, is told from one that is silent',
  (when) =>
    withOwnGuest({ misbehave: [{ on: 'stop', fault: { kind: 'die', when } }] }, async (client) => {
      const stop = client.ask('stop');
      if (when === 'afterAnswer') expect(await readStopAnswer(stop.answered)).toBe('stopped');
      await waitFor('the socket to be dead', () => isDead(client));
      stop.abandon();
      if (when === 'beforeAnswer')
        await expect(stop.answered).rejects.toMatchObject({ code: 'GuestNotAnswering' });
      expect(client.ask('go').isSent).toBe(false);
    }),
);

async function isDead(client: MconsoleClient): Promise<boolean> {
  const [result] = await Promise.allSettled([client.request('version', brief)]);
  return result.status === 'rejected' && isError(result.reason, 'GuestSocketDead');
}
