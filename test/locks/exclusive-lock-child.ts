import { once } from 'node:events';
import { withLocks } from '../../src/locks/exclusive-lock.js';

/** Holds the locks named on its command line, as JSON, until it is told to go on: for exclusive-lock.test.ts. */
const [holder = '', ...locks] = process.argv.slice(2);
process.stdout.write('started\n');
const request = { locks: locks.map((lock) => JSON.parse(lock)), holder, what: 'the thing', wait: true };
await withLocks(request, async () => {
  process.stdout.write('held\n');
  await once(process.stdin, 'data');
});
process.stdout.write('released\n');
process.stdin.destroy();
