import { renameSync } from 'node:fs';
import { createSocket } from 'unix-dgram';
import { describe, expect, test } from 'vitest';
import type { Fault, Misbehaviour } from '../fixtures/misbehaviour.js';
import { expectSettled, type GuardedFake, setGuardedFake, withGuardedFake, wordsTo } from './paused-fake.js';

/**
 * A real guardian against a guest whose console does everything wrong that faults.md knows of. How long something takes is the
 * machine's affair: what came before what is ours.
 */

const budgetMs = 200;
/** For a pause that its work ends: whatever holds this machine up, it is not the budget. */
const endless = 60_000;
const captured = async () => 'captured';
const unanswered = { error: { code: 'StopUnanswered', facts: { guestState: 'running' } } };

/** The one pause that the guest has had. */
function onlyPause({ fake }: GuardedFake): { fromMs: number; toMs: number } {
  const [only, ...others] = fake.pausedIntervals();
  expect([only, others]).toEqual([{ fromMs: expect.any(Number), toMs: expect.any(Number) }, []]);
  return { fromMs: only?.fromMs ?? 0, toMs: only?.toMs ?? Number.NaN };
}

const receivedAtMs = ({ fake }: GuardedFake, word: string) =>
  fake.received().find(({ command }) => command === word)?.atMs ?? Number.POSITIVE_INFINITY;

describe('when the answer to stop never comes, as', () => {
  const withGuest = setGuardedFake({ proveStopAfterMs: 300 });

  test('the request was lost, the guest is not called paused, and a stop that may still come is waited out', () =>
    withGuest([{ on: 'stop', fault: { kind: 'dropRequest' } }], async (guarded) => {
      expect(await guarded.pause(budgetMs, captured)).toMatchObject(unanswered);
      await expectSettled(guarded);
      expect(guarded.fake.pausedIntervals()).toEqual([]);
      expect(wordsTo(guarded).filter((word) => word === 'stop')).toHaveLength(1);
      // That it is over was looked for in the guest's work queue, behind which the stop may have been.
      expect(wordsTo(guarded)).toContain('proc uptime');
    }));

  const garbled = ['lengthHuge', 'moreHuge', 'noNul', 'empty', 'oversized', 'versionText'] as const;
  test.each<[string, Fault]>([
    ['it was lost', { kind: 'dropAnswer' }],
    ...garbled.map((form): [string, Fault] => [`it is garbled (${form})`, { kind: 'garbledAnswer', form }]),
  ])('%s, the guest is resumed at the deadline, before anything is proven, and nothing counts', (_, fault) =>
    withGuest([{ on: 'stop', fault }], async (guarded) => {
      expect(await guarded.pause(budgetMs, captured)).toMatchObject(unanswered);
      await expectSettled(guarded);
      expect(onlyPause(guarded).toMs).toBeLessThan(receivedAtMs(guarded, 'proc uptime'));
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'guardian' }]);
    }),
  );

  test.each<[string, Fault]>([
    ['it has no end', { kind: 'endlessAnswer' }],
    ...(['otherSocket', 'namelessSocket'] as const).map((sender): [string, Fault] => [
      `a third process spoofs it (${sender})`,
      { kind: 'foreignAnswers', sender, times: 3, thenTrueAnswer: false },
    ]),
  ])('%s, nothing that comes is taken for one', (_, fault) =>
    withGuest([{ on: 'stop', fault }], async (guarded) => {
      expect(await guarded.pause(budgetMs, captured)).toMatchObject(unanswered);
      await expectSettled(guarded);
    }),
  );
});

describe('when a stop', () => {
  const withGuest = setGuardedFake();

  test.each<[string, Fault]>([
    [
      'takes effect only after a go was answered `Not stopped`',
      { kind: 'delayUntilAnswered', command: 'go' },
    ],
    ['takes effect long after the budget', { kind: 'delayRequest', delayMs: 5 * budgetMs }],
    ['is answered after the go for it', { kind: 'answerAfterNext' }],
  ])('%s, the guest does not stay paused, and nothing counts', (_, fault) =>
    withGuest([{ on: 'stop', fault }], async (guarded) => {
      expect(await guarded.pause(budgetMs, captured)).toMatchObject(unanswered);
      await expectSettled(guarded);
      onlyPause(guarded);
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'guardian' }]);
    }),
  );

  const dropped: Misbehaviour = { on: 'go', times: 3, fault: { kind: 'dropRequest' } };
  const spoofed: Fault = { kind: 'foreignAnswers', sender: 'otherSocket', times: 1, thenTrueAnswer: false };
  test.each<[string, Misbehaviour[]]>([
    ['is answered twice, the second is not taken for the answer to go', [duplicate('stop')]],
    [
      'is answered byte by byte, it is read whole',
      [{ on: 'stop', fault: { kind: 'bytewiseAnswer', everyMs: 5 } }],
    ],
    ['has a go that is lost three times, the pause is measured to the one that counted', [dropped]],
    [
      'has a go that is answered after the next, it was ours',
      [{ on: 'go', times: 1, fault: { kind: 'answerAfterNext' } }],
    ],
    [
      'has a go that is answered late, after others were refused, it was ours',
      [
        { on: 'go', times: 1, fault: { kind: 'delayAnswer', delayMs: 80 } },
        // Refused late as well, one after the other: none of these may cut the wait short.
        { on: 'go', times: 2, fault: { kind: 'delayAnswer', delayMs: 30 } },
      ],
    ],
    ['has a go that is answered twice, one answer counts', [duplicate('go')]],
    [
      'has a go whose answer is spoofed, the guest is resumed in truth',
      [{ on: 'go', times: 2, fault: spoofed }],
    ],
  ])('%s', (_, misbehave) =>
    withGuest(misbehave, async (guarded) => {
      const outcome = await guarded.pause(endless, captured);
      expect(outcome, JSON.stringify(outcome)).toMatchObject({ value: 'captured' });
      await expectSettled(guarded);
      if (misbehave.includes(dropped))
        // On a busy machine a fifth may be on its way before the answer to the fourth is seen.
        expect(wordsTo(guarded).filter((word) => word === 'go').length).toBeGreaterThanOrEqual(4);
      expectMeasured(guarded);
    }),
  );

  // Who resumed it can't be known then, and a capture MUST be void if it may have been somebody else.
  test.each<Fault>([{ kind: 'dropAnswer' }, { kind: 'garbledAnswer', form: 'noNul' }])(
    'has a go that gets no answer which says so ($kind), the guest runs and nothing counts',
    (fault) =>
      withGuest([{ on: 'go', times: 3, fault }], async (guarded) => {
        expect(await guarded.pause(endless, captured)).toMatchObject({ error: { code: 'ResumedByOthers' } });
        await expectSettled(guarded);
        // It was the first one that resumed the guest, and nobody else.
        expect(onlyPause(guarded).toMs).toBeLessThan(secondGoAtMs(guarded));
      }),
  );
});

function duplicate(on: string): Misbehaviour {
  return { on, fault: { kind: 'duplicateAnswer' } };
}

const secondGoAtMs = ({ fake }: GuardedFake) =>
  fake.received().filter(({ command }) => command === 'go')[1]?.atMs ?? 0;

/**
 * We count from the answer to stop to the answer to the go that resumed the guest. The first came after the guest stood still and
 * before it got a go; the second after it ran again, and before the end was written down.
 */
function expectMeasured(guarded: GuardedFake): void {
  const [end] = guarded.ledger.ended;
  expect(end).toMatchObject({ endedBy: 'request' });
  const { fromMs, toMs } = onlyPause(guarded);
  const pausedMs = end?.pausedMs ?? Number.NaN;
  // It is told in microseconds.
  expect(pausedMs).toBeGreaterThan(toMs - receivedAtMs(guarded, 'go') - 0.01);
  expect(pausedMs).toBeLessThan((end?.atMs ?? 0) - fromMs + 0.01);
}

test('a socket put in the place of the guest`s while it is paused gets nothing: our go reaches the guest', () =>
  withGuardedFake({}, async (guarded) => {
    const impostor = createSocket('unix_dgram');
    const caught: string[] = [];
    impostor.on('message', (datagram) => caught.push(datagram.toString('latin1')));
    const outcome = await guarded.pause(endless, async () => {
      renameSync(guarded.fake.socketPath, `${guarded.fake.socketPath}.old`);
      impostor.bind(guarded.fake.socketPath);
      return 'captured';
    });
    impostor.close();
    // The guest binds no new name: its answer carries the old one, and is known for its own by the socket that it came from.
    expect(outcome, JSON.stringify(outcome)).toMatchObject({
      value: 'captured',
      pausedMs: expect.any(Number),
    });
    await expectSettled(guarded);
    expectMeasured(guarded);
    expect(caught).toEqual([]);
  }));
