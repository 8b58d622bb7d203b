import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/**
 * Keeps a server's connections to a number, and lets nobody be shut out by others that hold theirs: whoever comes takes the place of
 * the one that has waited longest, since it came or was last answered. Whoever may ask and has a request under way, a
 * live feed among them, MUST keep theirs.
 */
export class Connections {
  /** The one that has waited longest comes first. */
  readonly #droppable = new Set<Socket>();
  readonly #kept = new Set<Socket>();
  readonly #atMost: number;

  constructor(server: Server, atMost: number) {
    this.#atMost = atMost;
    server.on('connection', (socket) => this.#admit(socket));
    server.on('request', ({ socket }, response) => response.once('close', () => this.#answered(socket)));
  }

  /** Until what is under way on it is answered. */
  keep(socket: Socket): void {
    if (this.#droppable.delete(socket)) this.#kept.add(socket);
  }

  #admit(socket: Socket): void {
    if (this.#droppable.size + this.#kept.size >= this.#atMost) {
      const [dropped = socket] = this.#droppable;
      this.#droppable.delete(dropped);
      dropped.destroy();
      if (dropped === socket) return;
    }
    this.#droppable.add(socket);
    socket.once('close', () => {
      this.#droppable.delete(socket);
      this.#kept.delete(socket);
    });
  }

  #answered(socket: Socket): void {
    this.#kept.delete(socket);
    this.#droppable.delete(socket);
    if (!socket.destroyed) this.#droppable.add(socket);
  }
}
