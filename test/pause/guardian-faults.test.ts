import { renameSync } from 'node:fs';
import { createSocket } from 'unix-dgram';
import { describe, expect, test } from 'vitest';
import type { Misbehaviour } from '../fixtures/misbehaviour.js';
import { waitFor } from '../support/wait-for.js';
import { expectSettled, type GuardedFake, withGuardedFake, wordsTo } from './paused-fake.js';

/** A real guardian against a guest whose console does everything wrong that faults.md knows of. */

const budgetMs = 400;
/** Two busy cores: what is late by this much is late for a reason of ours. */
const slackMs = 2000;
const captured = async () => 'captured';
const unanswered = { error: { code: 'StopUnanswered', facts: { guestState: 'running' } } };

const onlyPause = ({ fake }: GuardedFake) => {
  const [only, ...others] = fake.pausedIntervals();
  expect(others).toEqual([]);
  return (only?.toMs ?? Number.POSITIVE_INFINITY) - (only?.fromMs ?? 0);
};

/** Pauses such a guest, expects this of it, and that all is well afterwards. */
const pausing = (
  misbehave: Misbehaviour[],
  expected: object,
  more: (guarded: GuardedFake) => void = () => {},
) =>
  withGuardedFake({ misbehave }, async (guarded) => {
    const outcome = await guarded.pause(budgetMs, captured);
    expect(outcome, JSON.stringify(outcome)).toMatchObject(expected);
    await expectSettled(guarded);
    more(guarded);
  });

describe('when the request to stop', () => {
  test.concurrent('is lost, the guest is not called paused, and a stop that may still come is waited out', () =>
    pausing([{ on: 'stop', fault: { kind: 'dropRequest' } }], unanswered, (guarded) => {
      expect(guarded.fake.pausedIntervals()).toEqual([]);
      expect(wordsTo(guarded).filter((word) => word === 'stop')).toHaveLength(1);
      // That it is over was looked for in the guest's work queue, behind which the stop may have been.
      expect(wordsTo(guarded)).toContain('proc uptime');
    }));

  test.concurrent('takes effect only after a go was answered `Not stopped`, the guest does not stay paused', () =>
    pausing([{ on: 'stop', fault: { kind: 'delayUntilAnswered', command: 'go' } }], unanswered, (guarded) => {
      expect(onlyPause(guarded)).toBeLessThan(slackMs);
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'guardian' }]);
    }));

  test.concurrent('takes effect long after the budget, the guest does not stay paused', () =>
    pausing(
      [{ on: 'stop', fault: { kind: 'delayRequest', delayMs: 3 * budgetMs } }],
      unanswered,
      (guarded) => {
        expect(onlyPause(guarded)).toBeLessThan(slackMs);
      },
    ));
});

describe('when the answer to stop', () => {
  test.concurrent('is lost, the guest is resumed at the deadline and nothing counts as captured', () =>
    pausing([{ on: 'stop', fault: { kind: 'dropAnswer' } }], unanswered, (guarded) => {
      expect(onlyPause(guarded)).toBeLessThan(budgetMs + slackMs);
    }));

  test.concurrent('comes after the next one, the guest runs', () =>
    pausing([{ on: 'stop', fault: { kind: 'answerAfterNext' } }], unanswered, (guarded) => {
      expect(onlyPause(guarded)).toBeLessThan(budgetMs + slackMs);
    }));

  test.concurrent('comes twice, the second is not taken for the answer to go', () =>
    pausing([{ on: 'stop', fault: { kind: 'duplicateAnswer' } }], { value: 'captured' }));

  test.concurrent('comes byte by byte, it is read whole', () =>
    pausing([{ on: 'stop', fault: { kind: 'bytewiseAnswer', everyMs: 5 } }], { value: 'captured' }));

  test.concurrent('never ends, it is no answer', () =>
    pausing([{ on: 'stop', fault: { kind: 'endlessAnswer' } }], unanswered));

  for (const form of ['lengthHuge', 'moreHuge', 'noNul', 'empty', 'oversized', 'versionText'] as const) {
    test.concurrent(`is garbled (${form}), the guest runs at the end all the same`, () =>
      withGuardedFake(
        { misbehave: [{ on: 'stop', fault: { kind: 'garbledAnswer', form } }] },
        async (guarded) => {
          await guarded.pause(budgetMs, captured);
          await expectSettled(guarded);
          expect(onlyPause(guarded)).toBeLessThan(budgetMs + slackMs);
        },
      ));
  }

  for (const sender of ['otherSocket', 'namelessSocket'] as const) {
    test.concurrent(`is spoofed by a third process (${sender}), it is not believed`, () =>
      pausing(
        [{ on: 'stop', fault: { kind: 'foreignAnswers', sender, times: 3, thenTrueAnswer: false } }],
        unanswered,
      ));
  }
});

/** What the guest says of the one pause that it had, against what we say. */
function expectMeasured(guarded: GuardedFake): void {
  const [end] = guarded.ledger.ended;
  expect(end).toMatchObject({ endedBy: 'request' });
  expect(Math.abs((end?.pausedMs ?? 0) - onlyPause(guarded))).toBeLessThan(300);
}

describe('when go', () => {
  test.concurrent('is lost three times, it is sent again, and the pause is measured to the one that counted', () =>
    pausing([{ on: 'go', times: 3, fault: { kind: 'dropRequest' } }], { value: 'captured' }, (guarded) => {
      // On a busy machine a fifth may be on its way before the answer to the fourth is seen.
      expect(wordsTo(guarded).filter((word) => word === 'go').length).toBeGreaterThanOrEqual(4);
      expectMeasured(guarded);
    }));

  test.concurrent('is answered after the next one, it still was our go that resumed the guest', () =>
    pausing(
      [{ on: 'go', times: 1, fault: { kind: 'answerAfterNext' } }],
      { value: 'captured' },
      expectMeasured,
    ));

  test.concurrent('is answered late, after others were refused, it still was our go', () =>
    pausing(
      [
        { on: 'go', times: 1, fault: { kind: 'delayAnswer', delayMs: 120 } },
        // Refused late as well, one after the other: none of these may cut the wait short.
        { on: 'go', times: 2, fault: { kind: 'delayAnswer', delayMs: 40 } },
      ],
      { value: 'captured' },
      expectMeasured,
    ));

  test.concurrent('is answered twice, one answer counts', () =>
    pausing([{ on: 'go', fault: { kind: 'duplicateAnswer' } }], { value: 'captured' }, expectMeasured));

  test.concurrent('is spoofed by a third process, the guest is resumed in truth', () =>
    pausing(
      [
        {
          on: 'go',
          times: 2,
          fault: { kind: 'foreignAnswers', sender: 'otherSocket', times: 1, thenTrueAnswer: false },
        },
      ],
      { value: 'captured' },
      expectMeasured,
    ));

  // Who resumed it can't be known then, and a capture MUST be void if it may have been somebody else.
  for (const fault of [{ kind: 'dropAnswer' }, { kind: 'garbledAnswer', form: 'noNul' }] as const) {
    test.concurrent(`gets no answer that says so (${fault.kind}), the guest runs and nothing counts as captured`, () =>
      pausing([{ on: 'go', times: 3, fault }], { error: { code: 'ResumedByOthers' } }, (guarded) => {
        expect(onlyPause(guarded)).toBeLessThan(slackMs);
      }));
  }
});

test.concurrent('a socket put in the place of the guest`s while it is paused gets nothing: go reaches the guest', () =>
  withGuardedFake({}, async (guarded) => {
    const impostor = createSocket('unix_dgram');
    const caught: string[] = [];
    impostor.on('message', (datagram) => caught.push(datagram.toString('latin1')));
    const outcome = await guarded.pause(5000, async () => {
      renameSync(guarded.fake.socketPath, `${guarded.fake.socketPath}.old`);
      impostor.bind(guarded.fake.socketPath);
      return 'captured';
    });
    // The guest binds no new name: its answers carry the old one, which leads to the impostor now.
    await waitFor('the guest to run', () => !guarded.fake.isPaused());
    expect(caught).toEqual([]);
    expect(outcome).toBeDefined();
    impostor.close();
    await expectSettled(guarded);
  }));
