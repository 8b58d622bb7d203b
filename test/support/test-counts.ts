export interface TestCounts {
  passed: number;
  failed: number;
  skipped: number;
}

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  testResults: { status: string; assertionResults: { status: string }[] }[];
}

/**
 * Counts from vitest's json report (undefined: there is none). What fails without a failed test counts too: a file that
 * can't be loaded, a hook, an unhandled error, a run that was cut short. So a run that did not end well never has
 * 0 failed.
 */
export function countTests(report: string | undefined, endedWell: boolean): TestCounts {
  if (report === undefined) return { passed: 0, failed: 1, skipped: 0 };
  const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(
    report,
  ) as Report;
  const failedFiles = testResults.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && !assertionResults.some((result) => result.status === 'failed'),
  );
  const failed = numFailedTests + failedFiles.length;
  return {
    passed: numPassedTests,
    failed: endedWell ? failed : Math.max(failed, 1),
    skipped: numPendingTests + numTodoTests,
  };
}

export function wordsOf({ passed, failed, skipped }: TestCounts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
