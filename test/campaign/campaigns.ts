import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { jsonLines } from '../support/cli.js';
import { heard } from '../support/heard.js';
import { roundsVariable, toldVariable } from '../support/rounds.js';
import { withTempDir } from '../support/temp-dir.js';
import { bitFlip } from './bit-flip.js';
import { type Campaign, type Described, sumOf, type Trial, type Wanted } from './campaign.js';
import { killAnywhere } from './kill-anywhere.js';
import { twoHosts } from './two-hosts.js';

/** Most campaigns are a file of the tests, run again and again, with more rounds than `npm test` has time for. */

const root = resolve(import.meta.dirname, '../..');

interface OfFile extends Omit<Described, 'isSeeded'> {
  file: string;
  /** Only the tests whose title has it. */
  title?: string;
  /** Of one run. */
  rounds: number;
  /** How many trials one round is. */
  ofRound: number;
  /** What a run MUST have told of, and so a skipped test is no passed one. */
  tells: string[];
}

interface JsonReport {
  testResults: { message: string; assertionResults: { fullName: string; failureMessages?: string[] }[] }[];
}

async function runFile(
  { file, title, tells }: OfFile,
  rounds: number,
  signal: AbortSignal,
): Promise<Omit<Trial, 'count'>> {
  return await withTempDir(async (dir) => {
    const [report, told] = [join(dir, 'report.json'), join(dir, 'told')];
    const named = title === undefined ? [] : ['-t', title];
    const args = ['run', '--config', 'test/vitest.config.ts', '--reporter=json', `--outputFile=${report}`];
    const env = { ...process.env, [roundsVariable]: String(rounds), [toldVariable]: told };
    const vitest = spawn(join(root, 'node_modules/.bin/vitest'), [...args, file, ...named], {
      ...{ cwd: root, env, signal, killSignal: 'SIGKILL', stdio: ['ignore', 'pipe', 'pipe'] },
    });
    const output = [heard(vitest.stdout), heard(vitest.stderr)];
    const [exitCode] = await once(vitest, 'close');
    const text = await readFile(report, 'utf8').catch(() => {
      const said = output.map((one) => one()).join('');
      throw new Error(`vitest ended with ${exitCode} and no report: ${said.slice(-2000)}`);
    });
    const facts = sumOf(jsonLines(await readFile(told, 'utf8').catch(() => '')) as Trial['facts'][]);
    const problems = failuresIn(JSON.parse(text) as JsonReport);
    if (problems.length > 0) return { problems, facts };
    const untold = tells.filter((fact) => facts[fact] === undefined);
    if (exitCode !== 0) problems.push(`vitest ended with ${exitCode}`);
    else if (untold.length > 0) problems.push(`nothing was told of: ${untold.join(', ')}`);
    return { problems, facts };
  });
}

function failuresIn({ testResults }: JsonReport): string[] {
  return testResults.flatMap(({ message, assertionResults }) => [
    ...(message === '' ? [] : [message]),
    ...assertionResults.flatMap(({ fullName, failureMessages = [] }) =>
      failureMessages.map((failure) => `${fullName}: ${failure}`),
    ),
  ]);
}

function fromFile(wanted: OfFile): Campaign {
  const { name, hazard, held, n, unit, ofRound } = wanted;
  async function* trials({ count, signal }: Wanted) {
    for (let left = Math.ceil(count / ofRound); left > 0; left -= wanted.rounds) {
      const rounds = Math.min(left, wanted.rounds);
      yield { count: rounds * ofRound, ...(await runFile(wanted, rounds, signal)) };
    }
  }
  return { name, hazard, held, n, unit, isSeeded: false, trials };
}

const yearOfHours = fromFile({
  name: 'year-of-hours',
  hazard: 'a year of hourly snapshots is swept after each of them, over both changes of the clock',
  held: 'the last 24 hours, 7 days and all months are there after every sweep, and it stays small',
  ...{ n: 12, unit: 'time zones', rounds: 12, ofRound: 1, tells: ['hours swept'] },
  file: 'test/retention/year-of-hours.test.ts',
});

const ofEachCall = { n: 60, unit: 'kills', rounds: 20, ofRound: 1, tells: ['places', 'kills'] };
const atEachCall = 'is looked at after every system call that changes anything, and killed at such places';
const pruneKill = fromFile({
  name: 'prune-kill',
  hazard: `a prune ${atEachCall}`,
  held: 'each snapshot is whole or gone, none that is to be kept is gone, and the next prune finishes it',
  ...{ ...ofEachCall, file: 'test/snapshot/prune-kill.test.ts' },
});
const restoreKill = fromFile({
  name: 'restore-kill',
  hazard: `a restore in place ${atEachCall}`,
  held: 'every disk is wholly old or wholly new, and no old one is lost',
  ...{ ...ofEachCall, file: 'test/restore/restore-kill.test.ts' },
});

const ofStore = 'all that was acknowledged is there and whole, and nothing half-made is listed';
const ofHistory = 'no acknowledged row is lost, and its file is sound';
const powerCuts = [
  ['store', 'a directory store', ofStore, 'test/store/power-cut.test.ts'] as const,
  ['tar', 'a store of archives', ofStore, 'test/store/tar/power-cut.test.ts'] as const,
  ['history', 'a history', ofHistory, 'test/history/power-cut.test.ts'] as const,
].map(([name, what, held, file]) =>
  fromFile({
    name: `power-cut-${name}`,
    hazard: `the power is cut under ${what}, on ext4 and on XFS, while somebody works in it`,
    ...{ held, file, n: 200, unit: 'cuts', rounds: 25, ofRound: 2, tells: ['cuts on ext4', 'cuts on xfs'] },
  }),
);

const frozen = fromFile({
  name: 'frozen',
  hazard:
    'a guest with the agent, by busybox and by dash, is frozen and copied while it writes at full speed',
  held: 'the copy needs no journal replay, shows the database at rest and has every line of before the freeze',
  ...{ n: 40, unit: 'snapshots', rounds: 5, ofRound: 2, tells: ['by busybox', 'by dash'] },
  file: 'test/guests/agent-frozen.test.ts',
});

const compare = fromFile({
  name: 'compare',
  hazard:
    'a guest that writes and discards at full speed is copied by precopy, and its disk compared before `go`',
  held: 'the copy is what the disk is at the end of the pause, byte for byte',
  ...{ n: 200, unit: 'copies', rounds: 5, ofRound: 2, tells: ['by traced', 'by compared'] },
  ...{ file: 'test/guests/precopy-snapshot.test.ts', title: 'byte for byte' },
});

/** All that there is, in the order in which it is run: what takes a while comes last. */
export const campaigns: readonly Campaign[] = [
  ...[yearOfHours, bitFlip, twoHosts, pruneKill, restoreKill],
  ...[...powerCuts, frozen, compare, killAnywhere],
];
