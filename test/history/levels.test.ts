import { describe, expect, test } from 'vitest';
import { expectedLevel, levelChange, levelsReached, levelText } from '../../src/history/levels.js';
import type { Consistency } from '../../src/history/records.js';

const letters: Record<string, Consistency> = { c: 'crash', s: 'synced', f: 'frozen' };
/** `ss` then `c`: the newest last, as they happened; given newest first. */
const levelsOf = (text: string) => [...text].map((letter) => letters[letter] as Consistency).toReversed();

/** Who is told what in the course of so many backups, as `4:synced>crash`. */
function told(text: string): string[] {
  return [...text].flatMap((_, index) => {
    const [newest, ...before] = levelsOf(text.slice(0, index + 1));
    const change = newest && levelChange(newest, before);
    return change ? [`${index}:${change.from}>${change.to}`] : [];
  });
}

describe('a level is told when it changes, and once', () => {
  test.each([
    ['a guest that never changes', 'ssssssssssssssss', []],
    ['a first backup, however weak', 'c', []],
    ['a guest that is never clean', 'cccccccccccccccc', []],
    ['a fall, and nothing while it lasts', 'sssccccccccccccc', ['3:synced>crash']],
    ['an agent that is gone', 'ffffss', ['4:frozen>synced']],
    ['two falls', 'ffsc', ['2:frozen>synced', '3:synced>crash']],
    ['ten in a row that are better again', 'sscssssssssss', ['2:synced>crash', '12:crash>synced']],
    ['a guest that is now clean and now not', 'scscscscscscscscscscscsc', ['1:synced>crash']],
    ['one that is clean nine times of ten', `${'sssssssssc'.repeat(5)}`, ['9:synced>crash']],
    ['an agent that came at last', `cc${'f'.repeat(12)}`, ['11:crash>frozen']],
  ])('%s', (_, course, changes) => {
    expect(told(course)).toEqual(changes);
  });
});

describe('the next backup is expected to be', () => {
  const cure = 'The agent in the guest would make its snapshots `frozen` (`umlsnap agent`).';
  test.each([
    ['ccccccccss', 'crash', `\`synced\` in 2, \`crash\` in 8 of the last 10: expect \`crash\`. ${cure}`],
    ['cs', 'crash', `\`synced\` in 1, \`crash\` in 1 of the last 2: expect \`crash\`. ${cure}`],
    ['csss', 'synced', `\`synced\` in 3, \`crash\` in 1 of the last 4: expect \`synced\`. ${cure}`],
    ['cccccccccccffffffffff', 'frozen', '`frozen` in 10 of the last 10: expect `frozen`.'],
  ] as const)('of %s, the newest last: %s', (course, level, text) => {
    expect(expectedLevel(levelsOf(course))).toEqual({ level, text });
  });

  test('nothing, where none has come to any', () => {
    expect(expectedLevel([])).toBeNull();
  });
});

test('levels are those of backups, also of what was refused for its level, and of nothing else', () => {
  const of = (kind: 'backup' | 'dry-run', summary: Record<string, unknown> | null) => ({ kind, summary });
  const jobs = [
    of('backup', { consistency: 'frozen' }),
    of('dry-run', { consistency: 'synced' }),
    of('backup', { consistency: null }),
    of('backup', null),
    of('backup', { snapshot: null, consistency: 'crash' }),
  ];
  expect(levelsReached(jobs)).toEqual(['frozen', 'crash']);
});

test.each([
  ['synced', 0, 'synced'],
  ['crash', 12, 'crash, 12 KiB not on disk'],
  ['crash', 0, 'crash, its last writes perhaps not on disk'],
] as const)('%s with %i KiB reads %j', (level, dirtyKib, text) => {
  expect(levelText(level, dirtyKib)).toBe(text);
});
