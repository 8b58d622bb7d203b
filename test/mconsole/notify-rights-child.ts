import { once } from 'node:events';
import { listenerLock, NotifyListener } from '../../src/mconsole/notify-listener.js';

/** Listens at PATH for a guest of the user UID when it is told to, until it is ended: for notify-listener.test.ts. */
const [socketPath = '', uid = ''] = process.argv.slice(2);
process.stdout.write('ready\n');
await once(process.stdin, 'data');
const lock = listenerLock(`${socketPath}.state`, socketPath);
const options = { socketPath, lock, holder: 'a test', guestUid: Number(uid) };
await NotifyListener.listenWhile(options, async () => {
  process.stdout.write('listening\n');
  await once(process.stdin, 'data');
});
