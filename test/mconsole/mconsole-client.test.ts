import { expect, test } from 'vitest';
import type { Misbehaviour } from '../fixtures/misbehaviour.js';
import { waitFor } from '../support/wait-for.js';
import { brief, fillQueue, patient, setFakeGuest } from './with-client.js';

const withClient = setFakeGuest();

test('requests made at once are sent one after another', () =>
  withClient([{ on: 'version', fault: { kind: 'delayAnswer', delayMs: 100 } }], async (client, guest) => {
    const seenAtAnswer: number[] = [];
    const all = ['version', 'version', 'version'].map((command) =>
      client.request(command, patient).then(() => seenAtAnswer.push(guest.received().length)),
    );
    await Promise.all(all);
    expect(seenAtAnswer).toEqual([1, 2, 3]);
  }));

test('a request without an answer, with a garbled one (fault 15), or too long to be sent at all, does not keep back those behind it', () => {
  const misbehave: Misbehaviour[] = [
    { on: 'stop', fault: { kind: 'dropRequest' } },
    { on: 'go', fault: { kind: 'garbledAnswer', form: 'zeroHeader' } },
  ];
  return withClient(misbehave, async (client, { socketPath, received }) => {
    const tooLong = 'x'.repeat(512);
    const failing = ['stop', 'go', tooLong].map((command) =>
      client.request(command, command === 'stop' ? brief : patient),
    );
    const next = client.request('version', patient);
    expect(await Promise.allSettled(failing)).toMatchObject([
      { reason: { code: 'GuestNotAnswering', facts: { command: 'stop', socketPath } } },
      { reason: { code: 'ReplyMalformed', facts: { command: 'go', socketPath } } },
      { reason: { code: 'RequestTooLarge', facts: { lengthBytes: 512 } } },
    ]);
    expect(await next).toContain('Linux');
    expect(client.ask(tooLong).isSent).toBe(false);
    expect(received()).toHaveLength(3);
  });
});

test('a guest whose queue is full gets every request in the end, but for one whose time was up by then', () =>
  withClient([], async (client, guest) => {
    process.kill(guest.pid, 'SIGSTOP');
    const asks = fillQueue(client);
    await expect(client.request('stop', brief)).rejects.toMatchObject({ code: 'GuestNotAnswering' });
    process.kill(guest.pid, 'SIGCONT');
    // Not by the answers: where the queue is long (systemd makes it so), a guest loses some of so many.
    await waitFor('all the others', () => guest.received().length === asks.length);
    expect(asks.at(-1)?.isSent).toBe(true);
    await waitFor('an answer', () => client.request('version', brief).catch(() => false));
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
    const options = { ...patient, signal: controller.signal };
    const answered = client.request('version', options);
    await waitFor('the request to be received', () => guest.received().length > 0);
    controller.abort(new Error('enough'));
    await expect(answered).rejects.toThrow('enough');
    await expect(client.request('stop', options)).rejects.toThrow('enough');
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
