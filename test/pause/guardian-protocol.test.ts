import { describe, expect, test } from 'vitest';
import {
  formatLine,
  type GuardianOrder,
  type GuardianReport,
  parseOrder,
  parseReport,
  rehearseProtocol,
} from '../../src/pause/guardian-protocol.js';

const orders: GuardianOrder[] = [
  { do: 'arm', socketPath: '/s\n/mconsole', main: { pid: 7, startTicks: 0 }, leaseFile: '/l' },
  {
    ...{ do: 'arm', socketPath: '/s', main: { pid: 7, startTicks: 0 }, leaseFile: '/l' },
    proveStopAfterMs: 0.5,
  },
  { do: 'pause', pause: 'j.1', budgetMs: 0.5 },
  { do: 'resume' },
];
const reports: GuardianReport[] = [
  { said: 'armed' },
  { said: 'paused' },
  { said: 'refused' },
  { said: 'unanswered' },
  { said: 'ended', endedBy: 'deadline', over: 'others', pausedMs: null },
  { said: 'failed', problem: 'line\nbreak "quoted"' },
];

describe('between the orchestrator and its guardian', () => {
  test('whatever is said is one line, and read as it was said', () => {
    for (const message of [...orders, ...reports]) expect(formatLine(message)).toMatch(/^[^\n]+\n$/);
    expect(orders.map((order) => parseOrder(formatLine(order)))).toEqual(orders);
    expect(reports.map((report) => parseReport(formatLine(report)))).toEqual(reports);
    expect(rehearseProtocol).not.toThrow();
  });

  test.each([
    ['nothing', ''],
    ['half a line', '{"do":"pau'],
    ['another word', '{"do":"kill"}'],
    ['a pause without an end', '{"do":"pause","pause":"j.1","budgetMs":0}'],
    ['a pause of no length', '{"do":"pause","pause":"p"}'],
    ['a pause for ever', '{"do":"pause","pause":"j.1","budgetMs":1e999}'],
    ['a fact too many', '{"do":"resume","guest":"x"}'],
    [
      'a process of nobody',
      '{"do":"arm","socketPath":"/s","main":{"pid":0,"startTicks":0},"leaseFile":"/l"}',
    ],
    [
      'a proof of a stop before there is one',
      '{"do":"arm","socketPath":"/s","main":{"pid":7,"startTicks":0},"leaseFile":"/l","proveStopAfterMs":0}',
    ],
  ])('%s is no order', (_, line) => {
    expect(() => parseOrder(line)).toThrow();
  });

  test.each([
    ['a word of comfort', '{"said":"all is well"}'],
    ['an end without its reason', '{"said":"ended","over":"resumed","pausedMs":1}'],
    ['a pause of less than nothing', '{"said":"ended","endedBy":"request","over":"resumed","pausedMs":-1}'],
    ['text', 'armed'],
  ])('%s is no report, and above all not one that the guest runs', (_, line) => {
    expect(() => parseReport(line)).toThrow();
  });
});
