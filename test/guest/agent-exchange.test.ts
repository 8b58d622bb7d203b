import { expect, test } from 'vitest';
import { AgentExchange } from '../../src/guest/agent/agent-exchange.js';
import type { Notification } from '../../src/mconsole/notification.js';

/** Both ends of the wire in a test's own hands: with the nonce of each order `agent` may speak, before the console has answered. */
function wire(agent: (nonce: string, say: (text: string) => void) => void) {
  const takers = new Set<(notification: Notification) => void>();
  const say = (text: string) => {
    for (const take of [...takers]) take({ type: 'message', text: `umlsnap agent 1 ${text}` });
  };
  const log = async (order: string) => agent(/nonce=(\w+)/.exec(order)?.[1] ?? '', say);
  const subscribe = (take: (notification: Notification) => void) => {
    takers.add(take);
    return () => takers.delete(take);
  };
  return { exchange: new AgentExchange({ log }, { subscribe }), takers };
}

const freezing = { run: '12345678', job: 'j', limitMs: 1000, timerMs: 1000 };

test('stale, foreign and repeated answers are none, and the one that is right is heard after them', async () => {
  const { exchange, takers } = wire((nonce, say) => {
    say('frozen nonce=0000 at=/');
    say(`thawed nonce=${nonce} held=yes`);
    say(`refused nonce=${nonce} why=late text=/`);
    say(`frozen nonce=${nonce} at=/`);
  });
  const refusal = { why: 'late', text: '/' };
  expect(await exchange.freeze('abc', freezing)).toEqual({ frozen: false, refusal });
  expect(takers.size).toBe(0);
});

test('the hooks after a thaw are heard of, however early they end', async () => {
  const { exchange } = wire((nonce, say) => {
    say(`after nonce=${nonce} hook=10-db exit=3 text=oh`);
    say(`thawed nonce=${nonce} held=yes`);
  });
  const { thawed, afterThaw } = await exchange.thaw('12345678', 'abc', 1000);
  expect(thawed).toBe('held');
  expect(await afterThaw.outcome(0)).toEqual({ failed: { hook: '10-db', exit: 3, text: 'oh' } });
  afterThaw.stop();
});

test('a freeze that is called off ends with the reason, not with the patience', async () => {
  const off = new AbortController();
  const { exchange, takers } = wire(() => off.abort(new Error('called off')));
  const patient = { ...freezing, limitMs: 3_600_000 };
  await expect(exchange.freeze('abc', patient, off.signal)).rejects.toThrow('called off');
  expect(takers.size).toBe(0);
});
