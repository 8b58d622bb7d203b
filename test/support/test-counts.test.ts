import { describe, expect, test } from 'vitest';
import { countTests, runOf, skippedOf, wordsOf } from './test-counts.js';

const file = (name: string, status: string, ...tests: string[]) => ({
  ...{ name, status },
  assertionResults: tests.map((one) => ({ status: one, fullName: `${name} ${one}` })),
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

test('what is left out is named, and excused only by what the machine can not do', () => {
  const excused = file('old calls (skipped: this machine has no 32-bit calls)', 'passed', 'skipped');
  const { names, unexcused } = skippedOf(run(true, good, excused));
  expect(names).toHaveLength(3);
  expect(unexcused).toEqual(['/good.test.ts skipped', '/good.test.ts todo']);
});
