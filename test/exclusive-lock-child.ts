import { once } from 'node:events';
import { withLocks } from '../src/exclusive-lock.js';

/** Holds the locks named on its command line until it is told to go on: for exclusive-lock.test.ts. */
const [holder = '', ...keys] = process.argv.slice(2);
process.stdout.write('started\n');
await withLocks({ keys, holder, what: 'the thing', wait: true }, async () => {
  process.stdout.write('held\n');
  await once(process.stdin, 'data');
});
process.stdout.write('released\n');
process.stdin.destroy();
