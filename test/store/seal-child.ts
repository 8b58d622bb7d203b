import { createInterface } from 'node:readline';
import { isError, UmlsnapError } from '../../src/errors.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { capture, draftOf } from './capture-of-tests.js';

/**
 * A process that seals a snapshot of two disks into the store of its argument, as often as it is asked to by a line: says `ready`,
 * waits, seals, and says what came in its way once it has discarded the copy, or `sealed`. At the line after that it kills itself: at an
 * ordinary exit koffi syncs standard output and error, and an injected failure of that makes it hang.
 */

const [path = ''] = process.argv.slice(2);
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const store = new DirectoryStore({ name: 'local', path });
for (let job = 1; ; job++) {
  const incoming = await store.begin('debian', `job-${job}`);
  const contents = { ubd0: Buffer.alloc(300_000, 'one'), ubd1: Buffer.alloc(70_001, 'two') };
  const draft = draftOf(incoming, await capture(incoming, contents));
  process.stdout.write('ready\n');
  await input.next();
  try {
    await store.seal(incoming, draft);
    process.stdout.write('sealed\n');
    await input.next();
    process.kill(process.pid, 'SIGKILL');
  } catch (error) {
    await store.discard(incoming);
    const problem = isError(error, 'StoreUnusable') ? error.facts.problem : '';
    process.stdout.write(`${error instanceof UmlsnapError ? error.code : String(error)} ${problem}\n`);
  }
  await input.next();
}
