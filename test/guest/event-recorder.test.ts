import { expect, test } from 'vitest';
import { EventRecorder } from '../../src/guest/event-recorder.js';
import type { GuestEvent } from '../../src/history/records.js';

function recorder(fail?: () => never) {
  const written: GuestEvent[] = [];
  const failures: unknown[] = [];
  const recordEvent = async (event: GuestEvent) => (fail ? fail() : void written.push(event));
  const made = new EventRecorder('debian', { recordEvent }, (error) => failures.push(error));
  return { made, written, failures };
}

test('what a guest says is written down in its order, and what its agent answers is not', async () => {
  const { made, written } = recorder();
  made.take({ type: 'booted', socketPath: '/home/alice/.uml/debian/mconsole' });
  made.take({ type: 'message', text: 'umlsnap agent 1 pong nonce=abc run=12345678' });
  made.take({ type: 'message', text: 'hello\n' });
  made.take({ type: 'panic', text: 'no init found' });
  await made.settled();
  expect(written).toMatchObject([
    { guest: 'debian', type: 'booted', text: '/home/alice/.uml/debian/mconsole', missed: 0 },
    { guest: 'debian', type: 'message', text: 'hello', missed: 0 },
    { guest: 'debian', type: 'panic', text: 'no init found', missed: 0 },
  ]);
});

test('a flood of one type is cut short, and keeps none of another type out', async () => {
  const { made, written } = recorder();
  for (let count = 0; count < 10_000; count++) made.take({ type: 'message', text: `${count}` });
  made.take({ type: 'panic', text: 'out of memory' });
  await made.settled();
  expect(written.filter(({ type }) => type === 'message').length).toBeLessThan(100);
  expect(written.at(-1)).toMatchObject({ type: 'panic' });
});

test('a history that takes nothing is told of, and holds nobody up', async () => {
  const { made, failures } = recorder(() => {
    throw new Error('full');
  });
  made.take({ type: 'hang', text: '' });
  made.take({ type: 'message', text: 'hello' });
  await made.settled();
  expect(failures).toHaveLength(2);
});

test('whoever wants to tell of it elsewhere too learns whether it was too much', () => {
  const { made } = recorder();
  const kept = Array.from({ length: 100 }, () => made.take({ type: 'panic', text: 'again' }));
  expect(kept[0]).toBe(true);
  expect(kept.at(-1)).toBe(false);
});
