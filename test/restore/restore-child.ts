import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { contentOfFile } from '../../src/image/read-content.js';
import { restoreInPlace } from '../../src/restore/restore-in-place.js';

/** Restores the snapshot of its argument in place once its standard input ends, to be killed meanwhile. */
const { store, manifest, targets } = JSON.parse(process.argv[2] ?? '{}');
const source = {
  manifest,
  openFile: async (file: string) => contentOfFile(await open(join(store, file))),
  openBacking: async (file: string) => contentOfFile(await open(join(store, 'backing', file))),
};
console.log('ready');
for await (const _ of process.stdin);
const options = { signal: new AbortController().signal, keepReplaced: false, now: new Date() };
await restoreInPlace(source, targets, options).then(
  () => console.log('done'),
  (error) => console.log('failed', error),
);
