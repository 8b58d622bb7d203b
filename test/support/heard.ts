import type { Readable } from 'node:stream';

/** Gives what a stream of a child has said so far. */
export function heard(stream: Readable | null): () => string {
  let text = '';
  stream?.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  return () => text;
}
