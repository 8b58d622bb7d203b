import { expect, test } from 'vitest';
import { parseOrder, parseReport } from '../../src/pause/guardian-protocol.js';

const arm = { do: 'arm', socketPath: '/s', main: { pid: 7, startTicks: 0 }, leaseFile: '/l' };
const pause = { do: 'pause', pause: 'j.1', budgetMs: 0.5 };
const ended = { said: 'ended', endedBy: 'deadline', over: 'others', pausedMs: null };

test('what a guardian is told and says is read as it was said', () => {
  for (const order of [arm, pause]) expect(parseOrder(JSON.stringify(order))).toEqual(order);
  expect(parseReport(JSON.stringify(ended))).toEqual(ended);
});

test.each([
  ['nothing', ''],
  ['half a line', '{"do":"pau'],
  ['another word', JSON.stringify({ do: 'kill' })],
  ['a pause without an end', JSON.stringify({ do: 'pause', pause: 'p' })],
  ['a pause of no length', JSON.stringify({ ...pause, budgetMs: 0 })],
  ['a pause for ever', JSON.stringify(pause).replace('0.5', '1e999')],
  ['a fact too many', JSON.stringify({ do: 'resume', guest: 'x' })],
  ['a process of nobody', JSON.stringify({ ...arm, main: { pid: 0, startTicks: 0 } })],
  ['a proof of a stop before there is one', JSON.stringify({ ...arm, proveStopAfterMs: 0 })],
])('%s is no order', (_, line) => {
  expect(() => parseOrder(line)).toThrow();
});

test.each([
  ['a word of comfort', JSON.stringify({ said: 'all is well' })],
  ['an end without its reason', JSON.stringify({ ...ended, endedBy: undefined })],
  ['a pause of less than nothing', JSON.stringify({ ...ended, pausedMs: -1 })],
  ['text', 'armed'],
])('%s is no report, and above all not one that the guest runs', (_, line) => {
  expect(() => parseReport(line)).toThrow();
});
