import { renameSync } from 'node:fs';
import { createSocket } from 'unix-dgram';
import { describe, expect, test } from 'vitest';
import type { Fault, ForeignSender, Misbehaviour } from '../fixtures/misbehaviour.js';
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

const receivedAtMs = ({ fake }: GuardedFake, word: string, nth = 0) =>
  fake.received().filter(({ command }) => command === word)[nth]?.atMs ?? Number.NaN;

const stopHas = (fault: Fault): Misbehaviour => ({ on: 'stop', fault });
const goHas = (fault: Fault, times: number): Misbehaviour => ({ on: 'go', fault, times });
const spoofed = (sender: ForeignSender, thenTrueAnswer = false): Fault => ({
  ...{ kind: 'foreignAnswers', sender, thenTrueAnswer },
});

describe('when the answer to stop never comes, as', () => {
  const withGuest = setGuardedFake({ proveStopAfterMs: 300 });

  test.each<[string, Fault]>([
    ['the request was lost (fault 9)', { kind: 'dropRequest' }],
    ['it has no end (fault 16)', { kind: 'endlessAnswer' }],
    ['a third process spoofs it (fault 20)', spoofed('otherSocket')],
    ['a third process without a name spoofs it (fault 20)', spoofed('namelessSocket')],
  ])('%s, the guest is not called paused, and a stop that may still come is waited out', (_, fault) =>
    withGuest([stopHas(fault)], async (guarded) => {
      expect(await guarded.pause(budgetMs, captured)).toMatchObject(unanswered);
      await expectSettled(guarded);
      expect(guarded.fake.pausedIntervals()).toEqual([]);
      expect(wordsTo(guarded).filter((word) => word === 'stop')).toHaveLength(1);
      // That it is over was looked for in the guest's work queue, behind which the stop may have been.
      expect(wordsTo(guarded)).toContain('proc uptime');
    }),
  );

  test.each<[string, Fault]>([
    ['it was lost (fault 10)', { kind: 'dropAnswer' }],
    ['it is garbled (fault 15)', { kind: 'garbledAnswer', form: 'lengthHuge' }],
    ['it is empty', { kind: 'garbledAnswer', form: 'empty' }],
    ['it is too large', { kind: 'garbledAnswer', form: 'oversized' }],
  ])('%s, the guest is resumed at the deadline, before anything is proven, and nothing counts', (_, fault) =>
    withGuest([stopHas(fault)], async (guarded) => {
      expect(await guarded.pause(budgetMs, captured)).toMatchObject(unanswered);
      await expectSettled(guarded);
      expect(onlyPause(guarded).toMs).toBeLessThan(receivedAtMs(guarded, 'proc uptime'));
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'guardian' }]);
    }),
  );
});

describe('when a stop', () => {
  const withGuest = setGuardedFake();

  const lateStop: Fault = { kind: 'delayRequest', delayMs: 5 * budgetMs };
  test.each<[string, Fault]>([
    ['takes effect long after gos for it were answered `Not stopped` (fault 18)', lateStop],
    ['is answered after the go for it (faults 13 and 14)', { kind: 'answerAfterNext' }],
  ])('%s, the guest does not stay paused, and nothing counts', (_, fault) =>
    withGuest([stopHas(fault)], async (guarded) => {
      expect(await guarded.pause(budgetMs, captured)).toMatchObject(unanswered);
      await expectSettled(guarded);
      onlyPause(guarded);
      expect(guarded.ledger.ended).toMatchObject([{ endedBy: 'guardian' }]);
    }),
  );

  const dropped = goHas({ kind: 'dropRequest' }, 3);
  const twice: Fault = { kind: 'duplicateAnswer' };
  test.each<[string, Misbehaviour[]]>([
    ['is answered twice, the second is not taken for the answer to go (fault 12)', [stopHas(twice)]],
    [
      'is answered by others as well, the true answer is taken (fault 20)',
      [stopHas(spoofed('otherSocket', true))],
    ],
    ['is answered byte by byte, it is read whole', [stopHas({ kind: 'bytewiseAnswer', everyMs: 5 })]],
    ['has a go that is lost three times, it is measured to the one that counted (fault 11)', [dropped]],
    ['has a go that is answered after the next, it was ours', [goHas({ kind: 'answerAfterNext' }, 1)]],
    [
      'has a go that is answered late, after others were refused, it was ours',
      // Refused late as well, one after the other: none of these may cut the wait short.
      [goHas({ kind: 'answerAfterNext' }, 9)],
    ],
    ['has a go that is answered twice, one answer counts', [goHas(twice, 1)]],
    [
      'has a go whose answer is spoofed, the guest is resumed in truth',
      [goHas(spoofed('namelessSocket'), 2)],
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
  test.each<Fault>([{ kind: 'dropAnswer' }, { kind: 'garbledAnswer', form: 'lengthHuge' }])(
    'has a go that gets no answer which says so ($kind), the guest runs and nothing counts',
    (fault) =>
      withGuest([goHas(fault, 3)], async (guarded) => {
        expect(await guarded.pause(endless, captured)).toMatchObject({ error: { code: 'ResumedByOthers' } });
        await expectSettled(guarded);
        // It was the first one that resumed the guest, and nobody else.
        expect(onlyPause(guarded).toMs).toBeLessThan(receivedAtMs(guarded, 'go', 1));
      }),
  );
});

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

test('a socket put in the place of the guest`s while it is paused gets nothing: our go reaches the guest (fault 19)', () =>
  withGuardedFake({}, async (guarded) => {
    const { socketPath } = guarded.fake;
    const impostor = createSocket('unix_dgram');
    const caught: Buffer[] = [];
    impostor.on('message', (datagram) => caught.push(datagram));
    const outcome = await guarded.pause(endless, async () => {
      renameSync(socketPath, `${socketPath}.old`);
      impostor.bind(socketPath);
      return 'captured';
    });
    impostor.close();
    // The guest binds no new name: its answer carries the old one, and is known for its own by the socket that it came from.
    expect(outcome, JSON.stringify(outcome)).toMatchObject({ value: 'captured' });
    await expectSettled(guarded);
    expectMeasured(guarded);
    expect(caught).toEqual([]);
  }));
