export interface TestCounts {
  passed: number;
  failed: number;
  skipped: number;
}

interface FileResult {
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
  const { testResults: files } = JSON.parse(report ?? '{}') as { testResults?: FileResult[] };
  return { files, endedWell };
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
  const countOf = (wanted: string) => statuses.filter((status) => status === wanted).length;
  const [passed, failed] = [countOf('passed'), countOf('failed')];
  const skipped = statuses.length - passed - failed;
  return { passed, failed: endedWell ? failed : Math.max(failed, 1), skipped };
}

/**
 * The names of the tests that were left out; each says in brackets why. `unexcused`: for no reason that lies in the machine, but for
 * want of a tool or a right, which who runs all of it as root on Debian has.
 */
export function skippedOf({ files = [] }: Run): { names: string[]; unexcused: string[] } {
  const names = files
    .flatMap(({ assertionResults }) => assertionResults)
    .filter(({ status }) => status !== 'passed' && status !== 'failed')
    .map(({ fullName }) => fullName.trim());
  return { names, unexcused: names.filter((name) => !name.includes('(skipped: this machine ')) };
}

export function wordsOf({ passed, failed, skipped }: TestCounts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
