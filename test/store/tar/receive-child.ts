import { createInterface } from 'node:readline';
import { DirectoryStore } from '../../../src/store/directory-store.js';
import { TarStore } from '../../../src/store/tar/tar-store.js';
import { contentIn } from '../sparse-snapshots.js';

/** A process that has a store of archives receive a snapshot: says `ready`, waits for a line, and says `received`. */

const [sourcePath = '', path = '', snapshot = ''] = process.argv.slice(2);
const source = new DirectoryStore({ name: 'source', path: sourcePath });
const store = new TarStore({ name: 'archives', path, compression: 'zstd' });
const content = await contentIn(source, snapshot);
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
process.stdout.write('ready\n');
await input.next();
await store.receive(content, {});
process.stdout.write('received\n');
process.exit(0);
