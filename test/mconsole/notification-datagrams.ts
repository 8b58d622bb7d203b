import { createSocket } from 'unix-dgram';
import { waitFor } from '../support/wait-for.js';

/** A datagram as a guest's kernel sends it to a notify socket (uml-facts §1). */
export function notificationDatagram(type: number, text: string): Buffer {
  const data = Buffer.from(text);
  const header = Buffer.alloc(16);
  for (const [index, word] of [0xcafebabe, 2, type, data.length].entries())
    header.writeUInt32LE(word, 4 * index);
  return Buffer.concat([header, data]);
}

/** Sends them as a guest's kernel does it: waiting for room, and without a name. */
export async function sendTo(path: string, ...datagrams: Buffer[]): Promise<void> {
  const sender = createSocket('unix_dgram');
  try {
    for (const datagram of datagrams) {
      const isSent = () =>
        new Promise<boolean>((tell, fail) =>
          sender.send(datagram, 0, datagram.length, path, (error) =>
            error && error.code !== -11 ? fail(error) : tell(!error),
          ),
        );
      await waitFor('room for a datagram', isSent, { everyMs: 1 });
    }
  } finally {
    sender.close();
  }
}
