import { expect, test } from 'vitest';
import type { Ask } from '../../src/mconsole/mconsole-client.js';
import { waitFor } from '../support/wait-for.js';
import { brief, patient, setFakeGuest } from './with-client.js';

const withClient = setFakeGuest();

test('an answer of many datagrams comes whole and in order', () =>
  withClient([], async (client) => {
    const text = await client.request('proc vmstat', patient);
    expect(text).toBe(`\n${'nr_other 1\n'.repeat(100)}nr_dirty 0\nnr_writeback 0\n`);
  }));

test('requests made at once are sent one after another', () =>
  withClient([{ on: 'version', fault: { kind: 'delayAnswer', delayMs: 100 } }], async (client, guest) => {
    const seenAtAnswer: number[] = [];
    const all = ['version', 'version', 'version'].map((command) =>
      client.request(command, patient).then(() => seenAtAnswer.push(guest.received().length)),
    );
    await Promise.all(all);
    expect(seenAtAnswer).toEqual([1, 2, 3]);
  }));

test('a request that failed does not keep back those behind it', () =>
  withClient([{ on: 'stop', fault: { kind: 'dropRequest' } }], async (client) => {
    const failing = [client.request('stop', brief), client.request('x'.repeat(600), patient)];
    const next = client.request('version', patient);
    const results = await Promise.allSettled(failing);
    expect(results.map((result) => result.status === 'rejected' && result.reason.code)).toEqual([
      'GuestNotAnswering',
      'RequestTooLarge',
    ]);
    expect(await next).toContain('Linux');
  }));

test('a command that is too long is refused before anything is sent', () =>
  withClient([], async (client, guest) => {
    await expect(client.request(`log ${'x'.repeat(508)}`, patient)).rejects.toMatchObject({
      code: 'RequestTooLarge',
      facts: { lengthBytes: 512 },
    });
    const ask = client.ask('x'.repeat(512));
    await expect(ask.answered).rejects.toMatchObject({ code: 'RequestTooLarge' });
    expect(ask.isSent).toBe(false);
    await client.request('version', patient);
    expect(guest.received()).toHaveLength(1);
  }));

test('a guest whose queue is full gets every request in the end', () =>
  withClient([], async (client, guest) => {
    process.kill(guest.pid, 'SIGSTOP');
    const asks: Ask[] = [];
    while (asks.at(-1)?.isSent ?? true) asks.push(client.ask('version'));
    process.kill(guest.pid, 'SIGCONT');
    // Not by the answers: where the queue is long (systemd makes it so), a guest loses some of so many.
    await waitFor('all of them', () => guest.received().length === asks.length);
    expect(asks.at(-1)?.isSent).toBe(true);
  }));

test('a request that found no room in the queue until its time was up is never delivered', () =>
  withClient([], async (client, guest) => {
    process.kill(guest.pid, 'SIGSTOP');
    const asks: Ask[] = [];
    while (asks.at(-1)?.isSent ?? true) asks.push(client.ask('version'));
    asks.pop()?.abandon();
    await expect(client.request('stop', brief)).rejects.toMatchObject({ code: 'GuestNotAnswering' });
    process.kill(guest.pid, 'SIGCONT');
    await waitFor('all the others', () => guest.received().length === asks.length);
    const hasAnswered = () => client.request('version', brief).catch(() => false);
    await waitFor('an answer', hasAnswered);
    expect(guest.received().map(({ command }) => command)).not.toContain('stop');
  }));

test('an answer that lay in the queue while our event loop was blocked is taken, although the time was up', () =>
  withClient([], async (client, guest) => {
    const answered = client.request('version', { timeoutMs: 200 });
    // One turn of the loop sends it; then nothing runs here until it is answered, and for longer than it may take.
    await new Promise((resolve) => setImmediate(resolve));
    const block = (ms: number) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    for (let looks = 0; guest.received().length === 0 && looks < 1500; looks++) block(20);
    block(400);
    expect(await answered).toContain('Linux');
  }));

test('a request that is aborted ends with the reason of its signal', () =>
  withClient([{ on: 'version', fault: { kind: 'dropRequest' } }], async (client, guest) => {
    const controller = new AbortController();
    const answered = client.request('version', { ...patient, signal: controller.signal });
    const isReceived = () => guest.received().length > 0;
    await waitFor('the request to be received', isReceived);
    controller.abort(new Error('enough'));
    await expect(answered).rejects.toThrow('enough');
    const never = client.request('stop', { ...patient, signal: controller.signal });
    await expect(never).rejects.toThrow('enough');
    expect(guest.received()).toHaveLength(1);
  }));

test('an abandoned request that nobody looks at does not end the process', () =>
  withClient([{ fault: { kind: 'dropRequest' } }], async (client) => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', note);
    client.ask('stop').abandon();
    client.ask('stop');
    client.close();
    await new Promise((resolve) => setTimeout(resolve, 0));
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
  }));

test('after its close a client sends nothing any more', () =>
  withClient([], async (client, guest) => {
    client.close();
    expect(() => client.ask('stop')).toThrow();
    await expect(client.request('stop', patient)).rejects.toMatchObject({ code: 'Internal' });
    expect(guest.received()).toEqual([]);
  }));
