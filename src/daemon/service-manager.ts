import koffi from 'koffi';
import { problemOf } from '../errors.js';
import { lastError } from '../image/last-error.js';

/** What sd_notify(3) needs of the environment that a service manager gives its services. */
export interface ServiceEnvironment {
  NOTIFY_SOCKET?: string | undefined;
  WATCHDOG_USEC?: string | undefined;
  WATCHDOG_PID?: string | undefined;
}

/**
 * Tells the service manager that started us, if one did, how we are (sd_notify(3)): ready, reading the config again, ending,
 * and, for its watchdog, that our event loop goes round. It is told by datagrams that are never waited for.
 */
export class ServiceManager {
  readonly #socket: string | undefined;
  readonly #watchdogMs: number | null;
  readonly #onFailure: (problem: string) => void;
  #hasFailed = false;
  #watchdog: NodeJS.Timeout | undefined;

  /** @param onFailure told once, when the service manager can't be reached: it will take us for dead */
  constructor(env: ServiceEnvironment, onFailure: (problem: string) => void) {
    this.#socket = env.NOTIFY_SOCKET || undefined;
    this.#watchdogMs = watchdogMsOf(env);
    this.#onFailure = onFailure;
  }

  /** @param status one line, for `systemctl status` */
  ready(status: string): void {
    this.#tell(`READY=1\nSTATUS=${oneLine(status)}`);
    this.#feedWatchdog();
  }

  /** MUST be followed by `ready`, or a reload never ends. */
  reloading(): void {
    const monotonicUsec = process.hrtime.bigint() / 1000n;
    this.#tell(`RELOADING=1\nMONOTONIC_USEC=${monotonicUsec}\nSTATUS=Reads the config again.`);
  }

  stopping(status: string): void {
    this.#tell(`STOPPING=1\nSTATUS=${oneLine(status)}`);
  }

  /**
   * Twice within its time, as long as our event loop goes round. By a timer of its own, and never by the way of a pause: the
   * watchdog ends a daemon that hangs, and the guardian then resumes what it had paused.
   */
  #feedWatchdog(): void {
    if (this.#watchdogMs === null || this.#watchdog) return;
    this.#tell('WATCHDOG=1');
    this.#watchdog = setInterval(() => this.#tell('WATCHDOG=1'), this.#watchdogMs / 2);
    this.#watchdog.unref();
  }

  #tell(state: string): void {
    if (this.#socket === undefined) return;
    try {
      sendDatagram(this.#socket, Buffer.from(state));
    } catch (error) {
      if (!this.#hasFailed) this.#onFailure(problemOf(error));
      this.#hasFailed = true;
    }
  }
}

/** Only if it is meant for this very process: the environment is inherited. */
function watchdogMsOf({ WATCHDOG_USEC: usec, WATCHDOG_PID: pid }: ServiceEnvironment): number | null {
  const milliseconds = Number(usec) / 1000;
  if (!Number.isFinite(milliseconds) || milliseconds <= 0) return null;
  return pid === undefined || pid === '' || Number(pid) === process.pid ? milliseconds : null;
}

const oneLine = (text: string) => text.replace(/\s+/g, ' ');

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** `sun_path` of struct sockaddr_un. */
const maxAddressBytes = 108;

const libc = koffi.load(null);
const socket = libc.func('int socket(int domain, int type, int protocol)');
const sendto = libc.func(
  'int64_t sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t addressLength)',
);
const close = libc.func('int close(int fd)');

/**
 * Sends one datagram to a unix socket, and never waits. The address is a path, or `@NAME` for an abstract one, which
 * unix-dgram can't send to.
 * @throws Error of Node's kind with the `code` of what the kernel said; ENAMETOOLONG
 */
function sendDatagram(address: string, data: Buffer): void {
  const sockaddr = socketAddress(address);
  const fd: number = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd === -1) throw lastError('socket');
  try {
    const sent = sendto(fd, data, data.length, MSG_DONTWAIT | MSG_NOSIGNAL, sockaddr, sockaddr.length);
    if (Number(sent) === -1) throw lastError('sendto');
  } finally {
    close(fd);
  }
}

/** An abstract name is as long as the address says; a path ends with a zero. */
function socketAddress(address: string): Buffer {
  const name = Buffer.from(address.startsWith('@') ? `\0${address.slice(1)}` : `${address}\0`);
  if (name.length > maxAddressBytes) {
    throw Object.assign(new Error(`${address} is too long for a socket`), { code: 'ENAMETOOLONG' });
  }
  const family = Buffer.alloc(2);
  new Uint16Array(family.buffer, family.byteOffset, 1)[0] = AF_UNIX;
  return Buffer.concat([family, name]);
}
