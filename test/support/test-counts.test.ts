import { describe, expect, test } from 'vitest';
import { countTests, wordsOf } from './test-counts.js';

const report = (testResults: unknown[], numFailedTests = 0) =>
  JSON.stringify({ numPassedTests: 3, numFailedTests, numPendingTests: 1, numTodoTests: 1, testResults });

describe('the last line of npm test', () => {
  test('counts what passed, failed and was skipped', () => {
    const failedTest = { status: 'failed', assertionResults: [{ status: 'failed' }, { status: 'passed' }] };
    expect(wordsOf(countTests(report([failedTest], 1), false))).toBe('3 passed, 1 failed, 2 skipped');
    expect(wordsOf({ passed: 3, failed: 0, skipped: 0 })).toBe('3 passed, 0 failed');
  });

  test('a file that could not be loaded is a failure, though no test of it failed', () => {
    const unloadable = { status: 'failed', assertionResults: [] };
    expect(countTests(report([unloadable]), false)).toMatchObject({ failed: 1 });
  });

  test('a run that ended badly never has 0 failed', () => {
    expect(countTests(report([]), false)).toMatchObject({ passed: 3, failed: 1 });
    expect(countTests(undefined, true)).toMatchObject({ passed: 0, failed: 1 });
  });
});
