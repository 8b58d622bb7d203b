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

test('a stop whose answer was lost has stopped the guest, and a go resumes it', () =>
  withClient([{ on: 'stop', fault: { kind: 'dropAnswer' } }], async (client, guest) => {
    await expect(client.request('stop', brief)).rejects.toMatchObject({ code: 'GuestNotAnswering' });
    await waitFor('the guest to be paused', () => guest.isPaused());
    expect(await readGoAnswer(client.request('go', patient))).toBe('resumed');
    expect(guest.isPaused()).toBe(false);
  }));

test('when the first answers to go are lost, a later one still tells that the guest runs', () =>
  withClient([{ on: 'go', times: 3, fault: { kind: 'dropAnswer' } }], async (client, guest) => {
    await client.request('stop', patient);
    for (let k = 0; k < 3; k++) {
      await expect(client.request('go', brief)).rejects.toMatchObject({ code: 'GuestNotAnswering' });
    }
    expect(await readGoAnswer(client.request('go', patient))).toBe('notStopped');
    expect(guest.isPaused()).toBe(false);
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

test('two requests that are answered in reverse order get each its own answer', () =>
  withClient([{ on: 'stop', fault: { kind: 'answerAfterNext' } }], async (client) => {
    const stop = client.ask('stop');
    const version = client.ask('version');
    expect(await version.answered).toContain('Linux');
    expect(await readStopAnswer(stop.answered)).toBe('stopped');
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

test('a stop that is outstanding can still pause the guest after a go that found it running', () =>
  withClient(
    [{ on: 'stop', fault: { kind: 'delayUntilAnswered', command: 'go' } }],
    async (client, guest) => {
      const stop = client.ask('stop');
      expect(await readGoAnswer(client.request('go', patient))).toBe('notStopped');
      expect(await readStopAnswer(stop.answered)).toBe('stopped');
      expect(guest.isPaused()).toBe(true);
      expect(await readGoAnswer(client.request('go', patient))).toBe('resumed');
    },
  ));

test('a guest that dies after its stop is told from one that is silent', () =>
  withOwnGuest(
    { misbehave: [{ on: 'stop', fault: { kind: 'die', when: 'afterAnswer' } }] },
    async (client) => {
      expect(await readStopAnswer(client.request('stop', patient))).toBe('stopped');
      await waitFor('the socket to be dead', () => isDead(client));
      expect(client.ask('go').isSent).toBe(false);
    },
  ));

test('a guest that dies before it answers its stop ends as unanswered', () =>
  withOwnGuest(
    { misbehave: [{ on: 'stop', fault: { kind: 'die', when: 'beforeAnswer' } }] },
    async (client) => {
      const stop = client.ask('stop');
      expect(stop.isSent).toBe(true);
      await waitFor('the socket to be dead', () => isDead(client));
      stop.abandon();
      await expect(stop.answered).rejects.toMatchObject({ code: 'GuestNotAnswering' });
    },
  ));

async function isDead(client: MconsoleClient): Promise<boolean> {
  const [result] = await Promise.allSettled([client.request('version', brief)]);
  return result.status === 'rejected' && isError(result.reason, 'GuestSocketDead');
}
