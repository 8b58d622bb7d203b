import { createInterface } from 'node:readline';
import { isError, UmlsnapError } from '../../src/errors.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { capture, draftOf } from './capture-of-tests.js';

/**
 * A process that seals a snapshot of two disks into the store of its first argument: says `ready`, waits for a line,
 * seals, and says `sealed`, or what came in its way once it has discarded the copy. Then it waits to be killed: at an
 * ordinary exit koffi syncs standard output and error, and an injected failure of that makes it hang.
 */

const [path = ''] = process.argv.slice(2);
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const store = new DirectoryStore({ name: 'local', path });
const incoming = await store.begin('debian', 'job-1');
const contents = { ubd0: Buffer.alloc(300_000, 'one'), ubd1: Buffer.alloc(70_001, 'two') };
const draft = draftOf(incoming, await capture(incoming, contents));
process.stdout.write('ready\n');
await input.next();
try {
  await store.seal(incoming, draft);
  process.stdout.write('sealed\n');
} catch (error) {
  await store.discard(incoming);
  const problem = isError(error, 'StoreUnusable') ? error.facts.problem : '';
  process.stdout.write(`${error instanceof UmlsnapError ? error.code : String(error)} ${problem}\n`);
}
await input.next();
