import koffi from 'koffi';

const SOL_SOCKET = 1;
/** Of Linux 6.16; the same number on x86-64 and arm64. */
const SO_PASSRIGHTS = 83;

const setsockopt = koffi
  .load(null)
  .func('int setsockopt(int fd, int level, int option, void *value, unsigned int length)');

/**
 * Has the kernel refuse whoever sends file descriptors to this socket. Nobody has to, and we never take one: but to drop the last
 * one of a TCP socket that lingers takes as long as whoever sent it likes, and all of us stands still meanwhile. MUST come before
 * anybody can send. A kernel before 6.16 has no such refusal.
 * @param fd of a unix socket; those that come in on one that listens refuse them as well
 */
export function refuseDescriptors(fd: number): void {
  setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, Buffer.alloc(4), 4);
}
