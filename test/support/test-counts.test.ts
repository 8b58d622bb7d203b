import { describe, expect, test } from 'vitest';
import { countTests, runOf, skippedOf, wordsOf } from './test-counts.js';

const file = (name: string, status: string, ...tests: string[]) => ({
  status,
  assertionResults: tests.map((one) => ({ status: one, fullName: `${name} ${one}` })),
});
const run = (endedWell: boolean, ...testResults: unknown[]) =>
  runOf(JSON.stringify({ testResults }), endedWell);

const good = file('good', 'passed', 'passed', 'passed', 'skipped', 'todo');
const failing = file('bad', 'failed', 'failed', 'passed');
const hook = file('hook', 'failed', 'passed');
const unloaded = file('bad', 'failed');

describe('the last line of npm test', () => {
  test.each([
    ['what passed, failed and was skipped', run(false, good, failing), '3 passed, 1 failed, 2 skipped'],
    ['nothing else where all passed', run(true, file('one', 'passed', 'passed')), '1 passed, 0 failed'],
    [
      'a file that could not be loaded as a failure',
      run(false, good, unloaded),
      '2 passed, 1 failed, 2 skipped',
    ],
    ['a hook that failed beside its tests as one', run(false, hook), '1 passed, 1 failed'],
    ['a run that ended badly as a failure', run(false, good), '2 passed, 1 failed, 2 skipped'],
    ['a run without a report as a failure', runOf(undefined, true), '0 passed, 1 failed'],
  ])('counts %s', (_, of, words) => {
    expect(wordsOf(countTests(of))).toBe(words);
  });
});

test('what is left out is named, and excused only by what the machine can not do', () => {
  const excused = file('old calls (skipped: this machine has no 32-bit calls)', 'passed', 'skipped');
  const { names, unexcused } = skippedOf(run(true, good, excused));
  expect(names).toHaveLength(3);
  expect(unexcused).toEqual(['good skipped', 'good todo']);
});
