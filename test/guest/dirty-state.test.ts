import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { consistencyOf, parseDirtyState, type Readiness, writtenDisks } from '../../src/guest/dirty-state.js';

const vmstat = 'nr_free_pages 1\nnr_dirty 3\nnr_writeback 2\nnr_dirtied 99\nnr_writeback_temp 7\n';
const ubda = ' 98       0 ubda 10 0 80 5 40 2 320 9 1 8 14 0 0 0 0 0 0\n';
const ubdb = ' 98      16 ubdb 10 0 80 5 2 2 320 9 0 8 14 0 0 0 0 0 0\n';
const noUbd = '   7 0 loop0 1 0 8 0 500 0 8 0 6 0 0\n';
const both = ['ubd0', 'ubd1'];

describe("the guest's own counters", () => {
  test('count pages dirty and under write-back, and requests over the disks of the snapshot', () => {
    const others = `${noUbd} 98 1 ubda1 1 0 8 0 500 0 8 0 6 0 0\n`;
    const state = parseDirtyState(vmstat, `${others}${ubda}${ubdb}`, both);
    expect(state).toEqual({ dirtyKib: 20, completedWrites: 42, diskWrites: [40, 2], inFlight: 1 });
  });

  test('of a disk outside the snapshot, busy swap for one, do not make it less consistent', () => {
    const state = parseDirtyState('nr_dirty 0\nnr_writeback 0\n', `${ubda}${ubdb}`, ['ubd1']);
    expect(state).toEqual({ dirtyKib: 0, completedWrites: 2, diskWrites: [2], inFlight: 0 });
  });

  test.each([
    ['a vmstat without nr_dirty', 'nr_writeback 0\n', ubda],
    ['a vmstat without nr_writeback', 'nr_dirty 0\n', ubda],
    ['a negative number', 'nr_dirty -1\nnr_writeback 0\n', ubda],
    ['words for a number', 'nr_dirty none\nnr_writeback 0\n', ubda],
    ['a number too long to be exact', `nr_dirty ${'9'.repeat(30)}\nnr_writeback 0\n`, ubda],
    ['a counter hidden in a line', 'x nr_dirty 0\nx nr_writeback 0\n', ubda],
    ['no ubd disk', vmstat, noUbd],
    ['a disk cut off before its counters', vmstat, `${ubdb} 98 0 ubda 10 0\n`],
    ['a disk with a word for a counter', vmstat, `${ubdb} 98 0 ubda 10 0 80 5 none 2 320 9 - 8 14\n`],
    ['a disk with a negative counter', vmstat, `${ubdb} 98 0 ubda 10 0 80 5 40 2 320 9 -1 8 14\n`],
  ])('%s is no proof of a clean guest: nothing is read from it', (_, stat, disks) => {
    expect(parseDirtyState(stat, disks, both)).toBeUndefined();
  });

  test('what a hostile guest says never becomes `synced` by accident, nor a figure that is none', () => {
    const words = ['nr_dirty ', 'nr_writeback ', ' 98 0 ubda ', ' 0 0 0 0 0 0 0 0 0 0'];
    const known = fc.constantFrom(...words, '0\n', '\n', '-1', 'NaN');
    const piece = fc.oneof(fc.string({ unit: 'binary' }), known);
    const text = fc.array(piece, { maxLength: 20 }).map((pieces) => pieces.join(''));
    fc.assert(
      fc.property(text, text, (stat, disks) => {
        const state = parseDirtyState(stat, disks, both);
        if (!state) return;
        for (const figure of Object.values(state).flat()) {
          expect(Number.isSafeInteger(figure)).toBe(true);
          expect(figure).toBeGreaterThanOrEqual(0);
        }
        if (consistencyOf(state, { type: 'clean', completedWrites: state.completedWrites }) === 'synced')
          expect(stat).toMatch(/^nr_dirty 0+$/m);
      }),
    );
  });
});

const clean: Readiness = { type: 'clean', completedWrites: 5 };
test.each<[number, number, number, Readiness, string]>([
  [0, 0, 5, clean, 'synced'],
  [4, 0, 5, clean, 'crash'],
  [0, 1, 5, clean, 'crash'],
  // What was written since may be data whose size is in no journal yet.
  [0, 0, 6, clean, 'crash'],
  [0, 0, 5, { type: 'busy' }, 'crash'],
])(
  'a stop with %i KiB dirty, %i requests under way and %i done, of a guest that was %j, is %s',
  (dirtyKib, inFlight, completedWrites, readiness, level) => {
    const state = { dirtyKib, inFlight, completedWrites, diskWrites: [completedWrites] };
    expect(consistencyOf(state, readiness)).toBe(level);
  },
);

test('the disks that were written between two looks are those whose own count has grown', () => {
  const look = (...diskWrites: number[]) => ({ dirtyKib: 4, inFlight: 0, completedWrites: 9, diskWrites });
  expect(writtenDisks(both, look(3, 2), look(3, 3))).toEqual(['ubd1']);
  expect(writtenDisks(both, look(3, 2), look(3, 2))).toEqual([]);
});
