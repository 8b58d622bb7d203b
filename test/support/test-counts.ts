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
  /** Errors that belong to no test: `unhandled-errors.ts`. */
  unhandledErrors: number;
}

export function runOf(report: string | undefined, endedWell: boolean, unhandledErrors = 0): Run {
  if (report === undefined) return { files: undefined, endedWell, unhandledErrors };
  const { testResults } = JSON.parse(report) as { testResults: FileResult[] };
  return { files: testResults, endedWell, unhandledErrors };
}

/**
 * What fails without a failed test counts too: a file that can't be loaded, a hook, an unhandled error, a run that was cut
 * short. So a run that did not end well never has 0 failed.
 */
export function countTests({ files, endedWell }: Run): TestCounts {
  if (files === undefined) return { passed: 0, failed: 1, skipped: 0 };
  const statuses = files.flatMap((file) => {
    const ofTests = statusesOf(file);
    return file.status === 'failed' && !ofTests.includes('failed') ? [...ofTests, 'failed'] : ofTests;
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

/**
 * The files that are worth another run, whole and from their beginning: the tests of a file build on each other. None when something
 * broke that is in no file's result, which a second run could not clear: an unhandled error, a test that did not come to its end.
 */
export function filesToTryAgain({ files = [], unhandledErrors }: Run): string[] {
  const isCutShort = files.some((file) => statusesOf(file).includes('pending'));
  if (unhandledErrors > 0 || isCutShort) return [];
  const failed = files.filter(({ status }) => status === 'failed').map(({ name }) => name);
  return failed.length <= triedAgainAtMost ? failed : [];
}

/**
 * The first run, with what the second one made of the files that were tried again. A file that left out the second time what it
 * had tried the first has proven nothing, and stays failed.
 */
export function withSecondTry(first: Run, second: Run): Run {
  if (first.files === undefined || second.files === undefined) return first;
  const again = new Map(second.files.map((file) => [file.name, file]));
  const files = first.files.map((file) => {
    const other = again.get(file.name);
    return other !== undefined && ranTestsOf(other) >= ranTestsOf(file) ? other : file;
  });
  return { ...second, files };
}

const statusesOf = ({ assertionResults }: FileResult) => assertionResults.map(({ status }) => status);
const ranTestsOf = (file: FileResult) =>
  statusesOf(file).filter((status) => status === 'passed' || status === 'failed').length;

export function wordsOf({ passed, failed, skipped }: TestCounts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
