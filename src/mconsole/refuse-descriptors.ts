import koffi from 'koffi';

const SOL_SOCKET = 1;
/** Of Linux 6.16; the same number on x86-64 and arm64. */
const SO_PASSRIGHTS = 83;

const ITIMER_REAL = 0;
const longestCloseMs = 50;

const libc = koffi.load(null);
const setsockopt = libc.func(
  'int setsockopt(int fd, int level, int option, void *value, unsigned int length)',
);
const setitimer = libc.func('int setitimer(int which, void *value, void *old)');

/**
 * Has the kernel refuse whoever sends file descriptors to this socket. Nobody has to, and we never take one: but to drop the last
 * one of a TCP socket that lingers takes as long as whoever sent it likes, and all of us stands still meanwhile. MUST come before
 * anybody can send. A kernel before 6.16 has no such refusal: there each such close is broken off.
 * @param fd of a unix socket; those that come in on one that listens refuse them as well
 */
export function refuseDescriptors(fd: number): void {
  if (setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, Buffer.alloc(4), 4) !== 0) breakOffCloses();
}

let breaksOff = false;

/** A close that lingers ends at any signal, and so do all that come in one datagram: a timer sends us one, again and again. */
export function breakOffCloses(): void {
  if (breaksOff) return;
  breaksOff = true;
  process.on('SIGALRM', () => undefined);
  setTimer(longestCloseMs);
  // MUST end first: on its way out Node gives up its handlers, and the next signal would be what the process ends by.
  process.on('exit', () => setTimer(0));
}

function setTimer(everyMs: number): void {
  // Two struct timeval: the interval, and the time to the first.
  const everyUs = BigInt(everyMs * 1000);
  setitimer(ITIMER_REAL, Buffer.from(new BigInt64Array([0n, everyUs, 0n, everyUs]).buffer), null);
}
