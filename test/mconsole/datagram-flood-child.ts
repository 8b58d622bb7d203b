import { randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createSocket } from 'unix-dgram';

/** Sends COUNT datagrams of garbage, of up to 4000 bytes, to the socket PATH: for notify-listener.test.ts. */
const [path = '', count = '0'] = process.argv.slice(2);
const socket = createSocket('unix_dgram');
for (let sent = 0; sent < Number(count); ) {
  const garbage = randomBytes(1 + ((sent * 7919) % 4000));
  let isFull = false;
  socket.send(garbage, 0, garbage.length, path, (error) => {
    if (error?.code === -11) isFull = true;
    else if (error) throw error;
  });
  if (isFull) await nextTurn();
  else sent += 1;
}
socket.close();
process.stdout.write('sent\n');
