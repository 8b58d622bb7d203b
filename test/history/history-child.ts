import { createInterface } from 'node:readline';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { jobEnd, jobStart, phase } from './records-of-tests.js';

/**
 * A process that works on a history: `history-child.ts ACTION PATH NAME COUNT`. It says `ready`, waits for a line before it opens
 * (`open`) or before it writes (`write`), and acknowledges each job on a line of its own once the history has acknowledged it.
 */

const [action, path = '', name = '', count] = process.argv.slice(2);
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function toBegin(): Promise<void> {
  process.stdout.write('ready\n');
  await input.next();
}

if (action === 'open') await toBegin();
const history = await SqliteHistory.open(path);
if (action === 'write') await toBegin();
for (let number = 0; number < Number(count); number++) {
  const job = `${name}-${number}`;
  await history.startJob(jobStart(job));
  await history.recordPhase(job, phase('preflight'));
  await history.recordPhase(job, phase('stop'));
  await history.finishJob(job, jobEnd());
  process.stdout.write(`${job}\n`);
}
history.close();
process.exit(0);
