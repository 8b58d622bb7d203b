import { describe, expect, test } from 'vitest';
import { countTests, filesToTryAgain, runOf, withSecondTry, wordsOf } from './test-counts.js';

const file = (name: string, status: string, ...tests: string[]) => ({
  ...{ name, status },
  assertionResults: tests.map((one) => ({ status: one })),
});
const run = (endedWell: boolean, ...testResults: unknown[]) =>
  runOf(JSON.stringify({ testResults }), endedWell);

const good = file('/good.test.ts', 'passed', 'passed', 'passed', 'skipped', 'todo');
const bad = file('/bad.test.ts', 'failed', 'failed', 'passed');

describe('the last line of npm test', () => {
  test('counts what passed, failed and was skipped', () => {
    expect(wordsOf(countTests(run(false, good, bad)))).toBe('3 passed, 1 failed, 2 skipped');
    expect(wordsOf(countTests(run(true, file('/one.test.ts', 'passed', 'passed'))))).toBe(
      '1 passed, 0 failed',
    );
  });

  test('a file that could not be loaded is a failure, though no test of it failed', () => {
    const unloadable = file('/unloadable.test.ts', 'failed');
    expect(countTests(run(false, good, unloadable))).toEqual({ passed: 2, failed: 1, skipped: 2 });
    const hook = file('/hook.test.ts', 'failed', 'passed');
    expect(countTests(run(false, hook))).toEqual({ passed: 1, failed: 1, skipped: 0 });
  });

  test('a run that ended badly never has 0 failed', () => {
    expect(countTests(run(false, good))).toMatchObject({ passed: 2, failed: 1 });
    expect(countTests(runOf(undefined, true))).toMatchObject({ passed: 0, failed: 1 });
  });
});

describe('a second try of the files that failed', () => {
  const passedNow = file('/bad.test.ts', 'passed', 'passed', 'passed');

  test('counts instead of the first, for those files alone', () => {
    const first = run(false, good, bad);
    expect(filesToTryAgain(first)).toEqual(['/bad.test.ts']);
    expect(countTests(withSecondTry(first, run(true, passedNow)))).toEqual({
      ...{ passed: 4, failed: 0, skipped: 2 },
    });
    expect(countTests(withSecondTry(first, run(false, bad)))).toMatchObject({ passed: 3, failed: 1 });
  });

  test('that was cut short, or did not come to a file, leaves the first as it was', () => {
    const first = run(false, good, bad);
    expect(countTests(withSecondTry(first, runOf(undefined, false)))).toMatchObject({ failed: 1 });
    expect(countTests(withSecondTry(first, run(true)))).toMatchObject({ passed: 3, failed: 1 });
    expect(countTests(withSecondTry(first, run(false, passedNow)))).toMatchObject({ failed: 1 });
  });

  test('that leaves out what failed the first time has proven nothing', () => {
    const skippedNow = file('/bad.test.ts', 'passed', 'skipped', 'passed');
    const both = withSecondTry(run(false, good, bad), run(true, skippedNow));
    expect(countTests(both)).toMatchObject({ passed: 3, failed: 1 });
  });

  test('is not made where something broke that no second try would show', () => {
    const report = JSON.stringify({ testResults: [good, bad] });
    expect(filesToTryAgain(runOf(report, false, 1))).toEqual([]);
    const cutShort = file('/cut.test.ts', 'passed', 'passed', 'pending');
    expect(filesToTryAgain(run(false, bad, cutShort))).toEqual([]);
  });

  test('is not made of a run that has no failed file, or too many of them to be an accident', () => {
    expect(filesToTryAgain(run(false, good))).toEqual([]);
    expect(filesToTryAgain(runOf(undefined, false))).toEqual([]);
    const many = Array.from({ length: 6 }, (_, index) => file(`/${index}.test.ts`, 'failed', 'failed'));
    expect(filesToTryAgain(run(false, ...many))).toEqual([]);
  });
});
