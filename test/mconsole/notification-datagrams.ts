/** A datagram as a guest's kernel sends it to a notify socket (uml-facts §1). */
export function notificationDatagram(type: number, text: string): Buffer {
  const data = Buffer.from(text);
  const header = Buffer.alloc(16);
  for (const [index, word] of [0xcafebabe, 2, type, data.length].entries())
    header.writeUInt32LE(word, 4 * index);
  return Buffer.concat([header, data]);
}
