import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ThreadAccount, type TraceEvent } from '../../../src/capture/tracing/thread-account.js';
import { type CallKind, trackedCalls } from '../../../src/capture/tracing/tracked-calls.js';

const [pwrite, punch] = ['pwrite64', 'fallocate'].map((name) => {
  const found = trackedCalls.find((call) => call.name === name);
  if (found === undefined) throw new Error(`no call ${name}`);
  return found;
}) as [CallKind, CallKind];

const enter = (stamp: number, call: CallKind): TraceEvent => ({ type: 'enter', stamp, call, args: [] });
const exit = (stamp: number, call: CallKind, result: number): TraceEvent => {
  return { type: 'exit', stamp, call, result };
};

/** An account that has been opened at 0, fed with rounds of events: what came of it. */
function keep(rounds: { events: TraceEvent[]; stamp: number }[]) {
  const account = new ThreadAccount();
  account.meet();
  account.open(0);
  const calls: { call: CallKind; result: number }[] = [];
  const problems: string[] = [];
  for (const { events, stamp } of rounds) {
    for (const event of events) account.add(event);
    const problem = account.advance(stamp, (call, _, result) => calls.push({ call, result }));
    if (problem !== null) problems.push(problem);
  }
  return { account, calls, problems };
}

describe('the account of a thread', () => {
  test.each([
    ['an end without a beginning', [exit(1, pwrite, 10)], /beginning of a pwrite64 was not seen/],
    ['a beginning without an end', [enter(1, pwrite), enter(2, pwrite)], /end of a pwrite64 was not seen/],
    ['the end of another call', [enter(1, pwrite), exit(2, punch, 0)], /pwrite64 ended as a fallocate/],
  ])('%s is a problem', (_, events, problem) => {
    expect(keep([{ events, stamp: 9 }]).problems.join()).toMatch(problem);
  });

  test.each([true, false])(
    'a call that was under way when tracing began is none, met since then: %s',
    (isMet) => {
      const account = new ThreadAccount();
      for (const event of [exit(1, pwrite, 10), enter(2, punch), exit(3, punch, 0)]) account.add(event);
      if (isMet) account.meet();
      expect(account.advance(4, () => {})).toBe(null);
      account.open(1000);
      expect([account.isIdle, account.differenceBytes(1000)]).toEqual([true, 0]);
    },
  );

  test('a write counts when its end is seen, and the thread is not idle before', () => {
    const { account, calls } = keep([{ events: [enter(1, pwrite)], stamp: 5 }]);
    expect([calls, account.isIdle, account.differenceBytes(0)]).toEqual([[], false, 0]);
  });

  test('however calls are spread over CPUs and rounds, each is told once, in order, and writes count with what they wrote', () => {
    const spreadCall = fc.record({
      ...{ call: fc.constantFrom(pwrite, punch), result: fc.integer({ min: -30, max: 5000 }) },
      ...{ enterCpu: fc.nat(3), exitCpu: fc.nat(3) },
    });
    const scenario = fc.tuple(
      fc.array(spreadCall, { maxLength: 60 }),
      fc.array(fc.nat(130), { maxLength: 12 }),
    );
    fc.assert(
      fc.property(scenario, ([calls, marks]) => {
        const buffers: TraceEvent[][] = [[], [], [], []];
        const all = calls.flatMap(({ call, result, enterCpu, exitCpu }, index): [number, TraceEvent][] => [
          [enterCpu, enter(2 * index + 1, call)],
          [exitCpu, exit(2 * index + 2, call, result)],
        ]);
        // A mark is set, then one CPU after the other is read, while the thread goes on: up to `mark` all is read, and of
        // what came later each CPU shows a little more than the one before.
        const rounds = [...marks.sort((a, b) => a - b), 1000].map((mark) => {
          const events: TraceEvent[] = [];
          for (const cpu of buffers.keys()) {
            const seen = buffers[cpu] ?? [];
            const now = all.filter(([on, event]) => on === cpu && event.stamp <= mark + cpu);
            events.push(...now.slice(seen.length).map(([, event]) => event));
            buffers[cpu] = now.map(([, event]) => event);
          }
          return { events, stamp: mark };
        });
        const told = keep(rounds);
        expect([told.problems, told.account.isIdle]).toEqual([[], true]);
        expect(told.calls).toEqual(calls.map(({ call, result }) => ({ call, result })));
        const writes = calls.filter(({ call }) => call === pwrite);
        const written = writes.reduce((sum, { result }) => sum + Math.max(0, result), 0);
        expect(told.account.differenceBytes(written)).toBe(0);
        expect(told.account.differenceBytes(written + 4)).toBe(4);
      }),
    );
  });
});
