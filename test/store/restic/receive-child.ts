import { DirectoryStore } from '../../../src/store/directory-store.js';
import { contentIn } from '../sparse-snapshots.js';
import { configIn, storeOf } from './restic-places.js';

/** A process that hands a snapshot from a directory store to restic, for being killed at it: DIR REPOSITORY STORE SNAPSHOT. */
const [dir = '', repository = '', path = '', snapshot = ''] = process.argv.slice(2);
const source = new DirectoryStore({ name: 'source', path });
const store = storeOf(await configIn(dir, repository));
await store.receive(await contentIn(source, snapshot), {});
process.stdout.write('received\n');
