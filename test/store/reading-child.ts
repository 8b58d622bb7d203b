import { DirectoryStore } from '../../src/store/directory-store.js';

/** A process that reads the snapshot of its second argument, in the store of its first, until it is killed. */
const [path = '', snapshot = ''] = process.argv.slice(2);
const store = new DirectoryStore({ name: 'local', path });
await store.whileReading(await store.read(snapshot), async () => {
  process.stdout.write('reading\n');
  await new Promise(() => process.stdin.resume());
});
