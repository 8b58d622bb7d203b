import { expect, test } from 'vitest';
import { EventRecorder } from '../../src/guest/event-recorder.js';
import type { GuestEvent } from '../../src/history/records.js';

test('what a guest says is written down in its order, and what its agent answers is not', async () => {
  const written: GuestEvent[] = [];
  const recordEvent = async (event: GuestEvent) => void written.push(event);
  const recorder = new EventRecorder('debian', { recordEvent }, () => expect.unreachable());
  recorder.take({ type: 'booted', socketPath: '/home/alice/.uml/debian/mconsole' });
  recorder.take({ type: 'message', text: 'umlsnap agent 1 pong nonce=abc run=12345678' });
  recorder.take({ type: 'message', text: 'hello\n' });
  recorder.take({ type: 'panic', text: 'no init found' });
  await recorder.settled();
  expect(written).toMatchObject([
    { guest: 'debian', type: 'booted', text: '/home/alice/.uml/debian/mconsole', missed: 0 },
    { guest: 'debian', type: 'message', text: 'hello', missed: 0 },
    { guest: 'debian', type: 'panic', text: 'no init found', missed: 0 },
  ]);
});

test('a history that takes nothing is told of, and holds nobody up', async () => {
  const failures: unknown[] = [];
  const recordEvent = () => Promise.reject(new Error('full'));
  const recorder = new EventRecorder('debian', { recordEvent }, (error) => failures.push(error));
  recorder.take({ type: 'hang', text: '' });
  recorder.take({ type: 'message', text: 'hello' });
  await recorder.settled();
  expect(failures).toHaveLength(2);
});
