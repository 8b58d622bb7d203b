import { expect, test } from 'vitest';
import { parseOrder, parseReport } from '../../src/pause/guardian-protocol.js';

const arm = { type: 'arm', socketPath: '/s', main: { pid: 7, startTicks: 0 }, leaseFile: '/l' };
const pause = { type: 'guard', pause: 'j.1', budgetMs: 0.5, pauser: { pid: 8, startTicks: 1 } };
const ended = { type: 'ended', endedBy: 'deadline', over: 'others', pausedMs: null, wasStopped: true };

test('what a guardian is told and says is read as it was said', () => {
  for (const order of [arm, pause]) expect(parseOrder(JSON.stringify(order))).toEqual(order);
  expect(parseReport(JSON.stringify(ended))).toEqual(ended);
});

test.each([
  ['nothing', ''],
  ['half a line', '{"type":"gua'],
  ['another word', JSON.stringify({ type: 'kill' })],
  ['a pause without an end', JSON.stringify({ ...pause, budgetMs: undefined })],
  ['a pause of no length', JSON.stringify({ ...pause, budgetMs: 0 })],
  ['a pause for ever', JSON.stringify(pause).replace('0.5', '1e999')],
  ['a fact too many', JSON.stringify({ type: 'end', guest: 'x' })],
  ['a process of nobody', JSON.stringify({ ...arm, main: { pid: 0, startTicks: 0 } })],
  ['a proof of a stop before there is one', JSON.stringify({ ...arm, proveStopAfterMs: 0 })],
])('%s is no order', (_, line) => {
  expect(() => parseOrder(line)).toThrow();
});

test.each([
  ['a word of comfort', JSON.stringify({ type: 'all is well' })],
  ['an end without its reason', JSON.stringify({ ...ended, endedBy: undefined })],
  ['a pause of less than nothing', JSON.stringify({ ...ended, pausedMs: -1 })],
  ['text', 'armed'],
])('%s is no report, and above all not one that the guest runs', (_, line) => {
  expect(() => parseReport(line)).toThrow();
});
