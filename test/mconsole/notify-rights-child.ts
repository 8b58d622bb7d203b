import { NotifyListener } from '../../src/mconsole/notify-listener.js';

/** Listens at PATH for a guest of the user UID, until it is ended: for notify-listener.test.ts. */
const [socketPath = '', uid = ''] = process.argv.slice(2);
process.stdin.once('data', () => {
  void NotifyListener.listenWhile({ socketPath, holder: 'a test', guestUid: Number(uid) }, async () => {
    process.stdout.write('listening\n');
    await new Promise(() => {});
  });
});
process.stdout.write('ready\n');
setInterval(() => {}, 1000);
