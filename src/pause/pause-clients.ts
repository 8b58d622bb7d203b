import { closeSync, openSync } from 'node:fs';
import { MconsoleClient } from '../mconsole/mconsole-client.js';

/**
 * The clients of one pause: never more than two, whatever dies how often, and with descriptors in reserve, so that a guest
 * is not stopped where there are too few to resume it.
 */
export class PauseClients {
  readonly #socketPath: string;
  /** That of the stop, and of the oldest `go`: their answers may still come to it. MUST stay open until the pause is over. */
  #first: MconsoleClient;
  #current: MconsoleClient;
  readonly #reserve: number[] = [];
  #reserved = 0;

  private constructor(socketPath: string, first: MconsoleClient) {
    this.#socketPath = socketPath;
    this.#first = first;
    this.#current = first;
  }

  /** @throws the errors of MconsoleClient.open */
  static async open(socketPath: string): Promise<PauseClients> {
    return new PauseClients(socketPath, await MconsoleClient.open(socketPath));
  }

  /** The one to ask: the first, or the only other one that is open. */
  get current(): MconsoleClient {
    return this.#current;
  }

  /** Takes so many descriptors. @throws EMFILE, ENFILE: a guest MUST NOT be stopped then */
  reserve(descriptors: number): void {
    this.#reserved = descriptors;
    while (this.#reserve.length < descriptors) this.#reserve.push(openSync('/dev/null', 'r'));
  }

  useReserve(): void {
    for (const descriptor of this.#reserve.splice(0)) closeSync(descriptor);
  }

  /** Has another client to ask, if one can be opened now. */
  async renew(): Promise<boolean> {
    try {
      const client = await MconsoleClient.open(this.#socketPath);
      this.dropOther();
      this.#current = client;
      return true;
    } catch {
      return false;
    }
  }

  /** Closes the current one, unless it is the first: it is dead, or there is another. */
  dropOther(): void {
    const dropped = this.#current;
    this.#current = this.#first;
    if (dropped !== this.#first) closeAnyhow(dropped);
  }

  /** The pause is over: the client that the guest answers to is the first one of the next pause. */
  startAnew(): void {
    if (this.#first !== this.#current) closeAnyhow(this.#first);
    this.#first = this.#current;
    try {
      this.reserve(this.#reserved);
    } catch {
      // What the last resume needed is free again, reserved or not.
    }
  }

  close(): void {
    this.useReserve();
    for (const client of new Set([this.#first, this.#current])) client.close();
  }
}

/** A directory that can't be removed MUST NOT end the resume: it goes with the process, if not now. */
function closeAnyhow(client: MconsoleClient): void {
  try {
    client.close();
  } catch {
    // Its sockets are closed by then.
  }
}
