import { once } from 'node:events';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { retain } from '../../src/snapshot/retain.js';
import { DirectoryStore } from '../../src/store/directory-store.js';

/** Prunes the store of its argument once it is told to by a line, to be killed meanwhile. */
const { dir, config, now } = JSON.parse(process.argv[2] ?? '{}');
const store = new DirectoryStore({ name: 'local', path: `${dir}/store` });
const history = await SqliteHistory.open(`${dir}/history.db`);
console.log('ready');
await once(process.stdin, 'data');
const { removed, warnings } = await retain(config, store, history, { now: new Date(now) });
console.log('done', removed.length, warnings.join());
process.exit(0);
