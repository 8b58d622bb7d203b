import { createInterface } from 'node:readline';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { jobEnd, jobStart, phase } from './records-of-tests.js';

/**
 * A process that works on a history: `history-child.ts ACTION PATH NAME COUNT`. It says `ready`, waits for a line, and
 * acknowledges each job on a line of its own once the history has acknowledged it.
 */

const [action = '', path = '', name = '', count = ''] = process.argv.slice(2);
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function main(): Promise<void> {
  if (action === 'open') {
    await starter();
    const history = await SqliteHistory.open(path);
    await writeJobs(history);
    history.close();
  }
  if (action === 'write') {
    const history = await SqliteHistory.open(path);
    await starter();
    await writeJobs(history);
    history.close();
  }
}

async function starter(): Promise<void> {
  process.stdout.write('ready\n');
  await input.next();
}

async function writeJobs(history: SqliteHistory): Promise<void> {
  for (let number = 0; number < Number(count); number++) {
    const job = `${name}-${number}`;
    await history.startJob(jobStart(job));
    await history.recordPhase(job, phase('preflight'));
    await history.recordPhase(job, phase('stop'));
    await history.finishJob(job, jobEnd());
    process.stdout.write(`${job}\n`);
  }
}

await main();
process.exit(0);
