/**
 * The part of the package `unix-dgram` that we use. Its traps: it aborts the process when `close` is called twice, when
 * `send` is given anything but a Buffer, and in `connect` (so that is left out here); a full queue at the receiver is an
 * error with code -11; callbacks and events come synchronously; it works in the main thread only.
 */
declare module 'unix-dgram' {
  /** `code` is a negative errno, unlike in Node's own errors. */
  export interface DatagramError extends Error {
    code: number;
    syscall: string;
  }

  export interface DatagramSocket {
    readonly fd: number;
    /** An `error` without a listener is thrown by `bind`. Paths over 107 bytes are cut without a word. */
    bind(path: string): void;
    send(
      datagram: Buffer,
      offset: number,
      length: number,
      path: string,
      done: (error?: DatagramError) => void,
    ): void;
    close(): void;
    on(event: 'error', listener: (error: DatagramError) => void): this;
    /** `path` is null when the sender's socket has no name, or an abstract one. */
    on(event: 'message', listener: (datagram: Buffer, sender: { path: string | null }) => void): this;
  }

  /** @throws DatagramError when there is no descriptor left */
  export function createSocket(type: 'unix_dgram'): DatagramSocket;
}
