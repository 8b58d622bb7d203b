export interface TestCounts {
  passed: number;
  failed: number;
  skipped: number;
}

interface FileResult {
  /** Its path. */
  name: string;
  status: string;
  assertionResults: { status: string; fullName: string }[];
}

/** What a run of vitest came to. */
export interface Run {
  /** From its json report; undefined: there is none. */
  files: FileResult[] | undefined;
  /** That it ended with 0. */
  endedWell: boolean;
}

export function runOf(report: string | undefined, endedWell: boolean): Run {
  if (report === undefined) return { files: undefined, endedWell };
  const { testResults } = JSON.parse(report) as { testResults: FileResult[] };
  return { files: testResults, endedWell };
}

/**
 * What fails without a failed test counts too: a file that can't be loaded, a hook, an unhandled error, a run that was cut
 * short. So a run that did not end well never has 0 failed.
 */
export function countTests({ files, endedWell }: Run): TestCounts {
  if (files === undefined) return { passed: 0, failed: 1, skipped: 0 };
  const statuses = files.flatMap(({ status, assertionResults }) => {
    const ofTests = assertionResults.map((test) => test.status);
    return status === 'failed' && !ofTests.includes('failed') ? [...ofTests, 'failed'] : ofTests;
  });
  const passed = statuses.filter((status) => status === 'passed').length;
  const failed = statuses.filter((status) => status === 'failed').length;
  return {
    passed,
    failed: endedWell ? failed : Math.max(failed, 1),
    skipped: statuses.length - passed - failed,
  };
}

/**
 * The names of the tests that were left out; each says in brackets why. `unexcused`: for no reason that lies in the machine, but for
 * want of a tool or a right, which who runs all of it as root on Debian has.
 */
export function skippedOf({ files = [] }: Run): { names: string[]; unexcused: string[] } {
  const isLeftOut = ({ status }: { status: string }) => status !== 'passed' && status !== 'failed';
  const names = files.flatMap(({ assertionResults }) => assertionResults.filter(isLeftOut));
  const all = names.map(({ fullName }) => fullName.trim());
  return { names: all, unexcused: all.filter((name) => !name.includes('(skipped: this machine ')) };
}

export function wordsOf({ passed, failed, skipped }: TestCounts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
