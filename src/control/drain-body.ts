import type { IncomingMessage } from 'node:http';
import { finished } from 'node:stream/promises';

/**
 * Reads what is left of a request that is refused: a socket that is closed with something unread takes our answer with it. The
 * server's own patience ends what has no end.
 */
export async function drainBody(request: IncomingMessage): Promise<void> {
  request.resume();
  // However it ends: the answer goes to whoever is still there.
  await finished(request).catch(() => {});
}
