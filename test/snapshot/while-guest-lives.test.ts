import { expect, test } from 'vitest';
import { UmlsnapError } from '../../src/errors.js';
import type { Notification } from '../../src/mconsole/notification.js';
import { ownIdentity } from '../../src/process-identity.js';
import { type Watched, whileGuestLives } from '../../src/snapshot/while-guest-lives.js';

function watchedGuest() {
  const takers = new Set<(notification: Notification) => void>();
  const subscribe = (take: (notification: Notification) => void) => {
    takers.add(take);
    return () => takers.delete(take);
  };
  const signal = new AbortController().signal;
  const self = ownIdentity();
  const watched: Watched = {
    ...{ guest: 'debian', processes: { main: self, holders: [self] }, isHalted: async () => false },
    ...{ source: { subscribe }, phase: () => 'precopy', signal },
  };
  const say = (notification: Notification) => {
    for (const take of takers) take(notification);
  };
  return { watched, say, takers };
}

const untilAborted = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));

test.each<[says: Notification, code: string, text?: string]>([
  [{ type: 'panic', text: 'no init' }, 'GuestPanicked', 'no init'],
  [{ type: 'booted', socketPath: '/x/mconsole' }, 'GuestRebooted'],
])(
  'what is under way is given up when the guest says %o, and by no message and no hang',
  async (notification, code, text) => {
    const { watched, say, takers } = watchedGuest();
    const work = whileGuestLives(watched, (signal) => {
      say({ type: 'message', text: 'panic' });
      say({ type: 'hang', text: '' });
      expect(signal.aborted).toBe(false);
      return untilAborted(signal);
    });
    say(notification);
    await expect(work).rejects.toMatchObject({ code, facts: { phase: 'precopy', ...(text && { text }) } });
    expect(takers.size).toBe(0);
  },
);

test('the end of the guest is told in the place of what it broke, but not of a guest that may be paused', async () => {
  const broken = new UmlsnapError('GuestGone', { guest: 'debian', phase: 'precopy', leftoverPids: [] });
  const paused = new UmlsnapError('GuestMayBePaused', { guest: 'debian', guardianPid: null, problem: '' });
  for (const [thrown, code] of [[broken, 'GuestPanicked'] as const, [paused, 'GuestMayBePaused'] as const]) {
    const { watched, say } = watchedGuest();
    const work = whileGuestLives(watched, async () => {
      // Read only after the work has failed.
      setImmediate(() => say({ type: 'panic', text: '' }));
      throw thrown;
    });
    await expect(work).rejects.toMatchObject({ code });
  }
});

test('a guest whose process has ended before its stop is told as gone, with what it has left, and after that as whatever was found', async () => {
  const { watched } = watchedGuest();
  const { main } = watched.processes;
  const gone = {
    ...watched,
    processes: { main: { ...main, startTicks: main.startTicks - 1 }, holders: [main] },
  };
  await expect(whileGuestLives(gone, untilAborted)).rejects.toMatchObject({
    ...{ code: 'GuestGone', facts: { phase: 'precopy', leftoverPids: [main.pid] } },
  });
  const found = new UmlsnapError('GuestGone', { guest: 'debian', phase: 'capture', leftoverPids: [] });
  const paused: Watched = { ...gone, phase: () => 'capture' };
  await expect(whileGuestLives(paused, () => Promise.reject(found))).rejects.toBe(found);
});
