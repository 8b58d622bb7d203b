import { beforeEach, describe, expect, test } from 'vitest';
import { maxRequestsAtOnce, maxRequestsOfGuest } from '../../src/control/decide-request.js';
import { UmlsnapError } from '../../src/errors.js';
import { HeldDispatcher, requestFor, snapshotOf } from './dispatcher-of-tests.js';

let held: HeldDispatcher;
beforeEach(() => {
  held = new HeldDispatcher();
});

const take = (...given: Parameters<typeof requestFor>) => held.dispatcher.take(requestFor(...given));
const code = (answer: { output: object[] }) => (answer.output.at(-1) as { code?: string }).code;

describe('a request', () => {
  test('can be cancelled by its id, and is answered as interrupted before the cancel is', async () => {
    const order: string[] = [];
    const snapshot = take(snapshotOf('a'), 42).finally(() => order.push('snapshot'));
    const cancel = await take({ type: 'cancel', of: 42 }, 43);
    expect(order).toEqual(['snapshot']);
    expect(cancel).toMatchObject({ status: 0, output: [{ type: 'cancelled', id: 42 }] });
    expect(await snapshot).toMatchObject({ status: 130 });
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

  test('with id 0 may come as often as it likes, until there are too many for all but a cancel', async () => {
    const many = Array.from({ length: maxRequestsAtOnce }, () => take(snapshotOf('a'), 0));
    expect(held.heldCount).toBe(maxRequestsAtOnce);
    expect(code(await take(snapshotOf('a'), 0))).toBe('TooManyRequests');
    expect(code(await take({ type: 'cancel', of: 3 }, 4))).toBe('NoSuchRequest');
    held.letGo();
    expect(new Set((await Promise.all(many)).map(({ status }) => status))).toEqual(new Set([0]));
    expect(held.dispatcher.running()).toEqual([]);
  });

  test('obeys the settings as they are when it comes', async () => {
    const taken = take(snapshotOf('a'));
    held.settings.change({ type: 2 });
    expect(await take(snapshotOf('a'), 2)).toMatchObject({ status: 75 });
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

test('a dispatcher that is closed gives up what is under way, waits for it, and takes nothing more', async () => {
  const answered = take(snapshotOf('a'), 5);
  await held.dispatcher.close(new UmlsnapError('Interrupted', { signal: 'SIGTERM' }));
  expect(held.dispatcher.running()).toEqual([]);
  expect(await answered).toMatchObject({ status: 130 });
  expect(await take(snapshotOf('a'), 6)).toMatchObject({ status: 130 });
});
