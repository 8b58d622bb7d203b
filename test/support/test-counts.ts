export interface TestCounts {
  passed: number;
  failed: number;
  skipped: number;
}

interface FileResult {
  /** Its path. */
  name: string;
  status: string;
  assertionResults: { status: string }[];
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
    const ofTests = assertionResults.map((result) => result.status);
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

/** More failed files are no accident: what is broken for certain is not run again. */
const triedAgainAtMost = 5;

/** The files that are worth another run, whole and from their beginning: the tests of a file build on each other. */
export function filesToTryAgain({ files = [] }: Run): string[] {
  const failed = files.filter(({ status }) => status === 'failed').map(({ name }) => name);
  return failed.length <= triedAgainAtMost ? failed : [];
}

/** The first run, with what the second one made of the files that were tried again. */
export function withSecondTry(first: Run, second: Run): Run {
  if (first.files === undefined || second.files === undefined) return first;
  const again = new Map(second.files.map((file) => [file.name, file]));
  return { files: first.files.map((file) => again.get(file.name) ?? file), endedWell: second.endedWell };
}

export function wordsOf({ passed, failed, skipped }: TestCounts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
