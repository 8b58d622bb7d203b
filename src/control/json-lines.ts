import type { ServerResponse } from 'node:http';

/** A client that reads nothing may have so much waiting for it; then it is let go. */
const maxUnreadBytes = 8 * 1024 * 1024;

export const jsonLinesType = 'application/x-ndjson';

/** An HTTP answer of one JSON object a line, each sent as it comes. */
export class JsonLines {
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
    response.on('error', () => response.destroy());
    response.writeHead(200, { 'content-type': jsonLinesType, 'cache-control': 'no-store' });
    response.flushHeaders();
  }

  write(object: object): void {
    const response = this.#response;
    if (response.destroyed || response.writableEnded) return;
    response.write(`${JSON.stringify(object)}\n`);
    if (response.writableLength > maxUnreadBytes) response.destroy();
  }

  end(): void {
    this.#response.end();
  }

  onClosed(tell: () => void): void {
    this.#response.once('close', tell);
  }
}
