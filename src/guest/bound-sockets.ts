import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { goneOrForbidden } from '../process-identity.js';
import { type BoundSocket, dumpBoundSockets } from './unix-diag.js';

/**
 * Every bound datagram socket that we can see: of our own network namespace from the kernel's list, of the others (a guest
 * may run in one) from /proc, as far as their processes are open to us.
 */
export function listBoundSockets(): BoundSocket[] {
  const own = dumpBoundSockets() ?? parseProcNetUnix(read('/proc/self/net/unix'));
  const others = processesOfOtherNetworks().flatMap((pid) => parseProcNetUnix(read(`/proc/${pid}/net/unix`)));
  return [...own, ...others];
}

/** The bound datagram sockets of the network namespace that a process is in. */
export function boundSocketsSeenBy(pid: number): BoundSocket[] {
  const isOwn = networkOf(String(pid)) === networkOf('self');
  return (isOwn ? dumpBoundSockets() : undefined) ?? parseProcNetUnix(read(`/proc/${pid}/net/unix`));
}

/**
 * The bound datagram sockets of a /proc/net/unix. A name with a newline in it can look like a line of its own: an inode that
 * stands there twice is therefore nobody's.
 */
export function parseProcNetUnix(text: string): BoundSocket[] {
  const found = new Map<number, BoundSocket | null>();
  for (const line of text.split('\n')) {
    const [, type, digits, path] =
      /^[0-9a-f]+: [0-9A-F]{8} [0-9A-F]{8} [0-9A-F]{8} ([0-9A-F]{4}) [0-9A-F]{2} +(\d+)(?: (.+))?$/.exec(
        line,
      ) ?? [];
    if (digits === undefined) continue;
    const inode = Number(digits);
    const isNamedDatagram = type === '0002' && path !== undefined && !path.startsWith('@');
    const socket = isNamedDatagram ? { inode, path, fileInode: null } : null;
    found.set(inode, found.has(inode) ? null : socket);
  }
  return [...found.values()].filter((socket) => socket !== null);
}

/** One process for each network namespace that is not ours. */
function processesOfOtherNetworks(): string[] {
  const byNetwork = new Map<string, string>();
  const own = networkOf('self');
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const network = networkOf(pid);
    if (network !== undefined && network !== own && !byNetwork.has(network)) byNetwork.set(network, pid);
  }
  return [...byNetwork.values()];
}

function networkOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch (error) {
    return goneOrForbidden(undefined)(error);
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    // EINVAL: the namespace of a process that is just ending.
    if ((error as NodeJS.ErrnoException).code === 'EINVAL') return '';
    return goneOrForbidden('')(error);
  }
}
