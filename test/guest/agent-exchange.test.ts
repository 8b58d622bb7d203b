import { expect, test } from 'vitest';
import { AgentExchange } from '../../src/guest/agent/agent-exchange.js';
import type { Notification } from '../../src/mconsole/notification.js';
import type { NotificationSource } from '../../src/mconsole/notify-listener.js';

/** Both ends of the wire in a test's own hands; each order is handed to `guest`, which may speak. */
function wire(guest: (order: string, say: (text: string) => void) => void) {
  const takers = new Set<(notification: Notification) => void>();
  const say = (text: string) => {
    for (const take of [...takers]) take({ type: 'message', text });
  };
  const source: NotificationSource = {
    subscribe: (take) => {
      takers.add(take);
      return () => takers.delete(take);
    },
  };
  const exchange = new AgentExchange({ log: async (line) => guest(line, say) }, source);
  return { exchange, takers };
}

const nonceOf = (order: string) => /nonce=(\w+)/.exec(order)?.[1] ?? '';
const freezing = { run: '12345678', job: 'j', limitMs: 1000, timerMs: 1000 };

test('an answer that comes before the console has answered counts', async () => {
  const { exchange, takers } = wire((order, say) =>
    say(`umlsnap agent 1 pong nonce=${nonceOf(order)} run=12345678`),
  );
  expect(await exchange.ping(1000)).toEqual({ agent: 'ready', run: '12345678' });
  expect(takers.size).toBe(0);
});

test('stale, foreign and repeated answers are none, and the one that is right is heard after them', async () => {
  const { exchange } = wire((order, say) => {
    say('umlsnap agent 1 frozen nonce=0000 at=/');
    say(`umlsnap agent 1 thawed nonce=${nonceOf(order)} held=yes`);
    say(`umlsnap agent 1 refused nonce=${nonceOf(order)} why=late text=/`);
    say(`umlsnap agent 1 frozen nonce=${nonceOf(order)} at=/`);
  });
  expect(await exchange.freeze('abc', freezing)).toEqual({
    frozen: false,
    refusal: { why: 'late', text: '/' },
  });
});

test('silence is told as such when its time is up, and nothing goes on listening', async () => {
  const { exchange, takers } = wire(() => {});
  expect(await exchange.ping(20)).toEqual({ agent: 'silent', waitedMs: 20 });
  const { thawed, afterThaw } = await exchange.thaw('12345678', 'abc', 20);
  expect(thawed).toBe('silent');
  expect(await afterThaw.outcome(20)).toBe('silent');
  afterThaw.stop();
  expect(takers.size).toBe(0);
});

test('the hooks after a thaw are heard of, however early they end', async () => {
  const { exchange } = wire((order, say) => {
    say(`umlsnap agent 1 after nonce=${nonceOf(order)} hook=10-db exit=3 text=oh`);
    say(`umlsnap agent 1 thawed nonce=${nonceOf(order)} held=yes`);
  });
  const { thawed, afterThaw } = await exchange.thaw('12345678', 'abc', 1000);
  expect(thawed).toBe('held');
  expect(await afterThaw.outcome(0)).toEqual({ failed: { hook: '10-db', exit: 3, text: 'oh' } });
  afterThaw.stop();
});

test('a freeze that is called off ends with the reason, not with the patience', async () => {
  const off = new AbortController();
  const { exchange, takers } = wire(() => off.abort(new Error('called off')));
  await expect(exchange.freeze('abc', { ...freezing, limitMs: 3_600_000 }, off.signal)).rejects.toThrow(
    'called off',
  );
  expect(takers.size).toBe(0);
});
