import { restoreInPlace } from '../../src/restore/restore-in-place.js';
import { sourceIn } from './stored-snapshot.js';

/** Restores the snapshot of its argument in place once its standard input ends, to be killed meanwhile. */
const { store, manifest, targets } = JSON.parse(process.argv[2] ?? '{}');
console.log('ready');
for await (const _ of process.stdin);
const options = { signal: new AbortController().signal, keepReplaced: false, now: new Date() };
await restoreInPlace(sourceIn(store, manifest), targets, options).then(
  () => console.log('done'),
  (error) => console.log('failed', error),
);
