import { beforeEach, describe, expect, test } from 'vitest';
import { maxRequestsAtOnce, maxRequestsOfGuest } from '../../src/control/decide-request.js';
import { UmlsnapError } from '../../src/errors.js';
import { HeldDesk, requestFor, snapshotOf } from './desk-of-tests.js';

let held: HeldDesk;
beforeEach(() => {
  held = new HeldDesk();
});

const take = (...given: Parameters<typeof requestFor>) => held.desk.take(requestFor(...given));
const code = (answer: { output: object[] }) => (answer.output.at(-1) as { code?: string }).code;

describe('a request', () => {
  test('is answered with its id, the exit status and the output, and its progress is told before', async () => {
    const followed: object[] = [];
    const answered = held.desk.take(requestFor(snapshotOf('a'), 42), (object) => followed.push(object));
    expect(held.desk.running()).toEqual([
      { id: 42, type: 'snapshot', requester: { from: 'host', pid: 1 }, job: 'job-1' },
    ]);
    held.letGo();
    expect(await answered).toEqual({
      ...{ type: 'answer', id: 42, status: 0, cut: false },
      output: [{ type: 'summary', guest: 'a', status: 'success' }],
    });
    expect(followed.map((object) => (object as { type: string }).type)).toEqual(['progress', 'summary']);
    expect(held.desk.running()).toEqual([]);
    expect(held.events).toEqual(['taken', 'answered']);
  });

  test('that fails is answered with the error and its exit code, as a command has it', async () => {
    const answer = await take({ type: 'verify', snapshot: 'a@latest' });
    expect(answer).toMatchObject({ status: 10, output: [{ type: 'error', code: 'NoSuchSnapshot' }] });
    expect(held.events).toEqual(['taken', 'failed']);
  });

  test('can be cancelled by its id, and is answered as interrupted before the cancel is', async () => {
    const order: string[] = [];
    const snapshot = take(snapshotOf('a'), 42).then((answer) => {
      order.push('snapshot');
      return answer;
    });
    const cancel = take({ type: 'cancel', of: 42 }, 43).then((answer) => {
      order.push('cancel');
      return answer;
    });
    expect(await cancel).toMatchObject({ status: 0, output: [{ type: 'cancelled', id: 42 }] });
    expect(await snapshot).toMatchObject({ status: 130 });
    expect(order).toContain('snapshot');
    expect(code(await take({ type: 'cancel', of: 42 }, 44))).toBe('NoSuchRequest');
  });

  test('of a guest can not be cancelled by another guest, nor its id be taken by one', async () => {
    const mine = take(snapshotOf('a'), 7, 'a');
    expect(code(await take({ type: 'cancel', of: 7 }, 8, 'b'))).toBe('NoSuchRequest');
    expect(code(await take({ type: 'cancel', of: 7 }, 8))).toBe('NoSuchRequest');
    const theirs = take(snapshotOf('b'), 7, 'b');
    expect(code(await take(snapshotOf('a'), 7, 'a'))).toBe('RequestIdTaken');
    held.letGo();
    expect([(await mine).status, (await theirs).status]).toEqual([0, 0]);
  });

  test('with id 0 may come as often as it likes, until there are too many', async () => {
    const many = Array.from({ length: maxRequestsAtOnce }, () => take(snapshotOf('a'), 0));
    expect(held.heldCount).toBe(maxRequestsAtOnce);
    expect(code(await take(snapshotOf('a'), 0))).toBe('TooManyRequests');
    held.letGo();
    expect(new Set((await Promise.all(many)).map(({ status }) => status))).toEqual(new Set([0]));
    expect(held.desk.running()).toEqual([]);
  });

  test('obeys the settings as they are when it comes', async () => {
    held.settings.change({ type: 2 });
    expect(await take(snapshotOf('a'))).toMatchObject({ status: 75 });
    held.settings.change({ type: -255 });
    const taken = take(snapshotOf('a'));
    held.settings.change({ type: 2 });
    held.letGo();
    expect(await taken).toMatchObject({ status: 0 });
  });
});

test('one guest gets no more than a few of the places, and leaves those of the others alone', async () => {
  const ask = (id: number, guest?: string) => take(snapshotOf('a'), id, guest);
  const first = Array.from({ length: maxRequestsOfGuest }, (_, index) => ask(index + 1, 'a'));
  expect(await ask(99, 'a')).toMatchObject({ status: 75, output: [{ code: 'TooManyRequests' }] });
  const others = [ask(1, 'b'), ...Array.from({ length: maxRequestsOfGuest + 1 }, (_, id) => ask(id + 1))];
  held.letGo();
  for (const answer of await Promise.all([...first, ...others])) expect(answer).toMatchObject({ status: 0 });
});

test('a desk that is closed gives up what is under way, waits for it, and takes nothing more', async () => {
  const answered = take(snapshotOf('a'), 5);
  await held.desk.close(new UmlsnapError('Interrupted', { signal: 'SIGTERM' }));
  expect(held.desk.running()).toEqual([]);
  expect(await answered).toMatchObject({ status: 130 });
  expect(await take(snapshotOf('a'), 6)).toMatchObject({ status: 130 });
});

test('a board tells a late follower all that was said, and everybody that it is over', async () => {
  const answered = take(snapshotOf('a'), 5);
  const said: string[] = [];
  const follower = {
    take: (object: object) => said.push((object as { type: string }).type),
    end: () => said.push('end'),
  };
  expect(held.board.follow('job-9', follower)).toBeUndefined();
  expect(held.board.running()).toMatchObject([{ job: 'job-1', guest: 'a', trigger: 'request' }]);
  held.board.follow('job-1', follower);
  held.letGo();
  await answered;
  expect(said).toEqual(['progress', 'summary', 'end']);
  expect(held.board.running()).toEqual([]);
});
