import { getSystemErrorMap } from 'node:util';

/** What the system says against something, as people say it. What is not here is said in the system's own words. */
const messages: Record<string, string> = {
  EACCES: 'access is denied',
  EADDRINUSE: 'the address is in use already',
  EADDRNOTAVAIL: 'this host does not have the address',
  EBUSY: 'it is in use',
  ECONNREFUSED: 'nobody listens there',
  ECONNRESET: 'the connection was broken off',
  EDQUOT: 'the quota is used up',
  EEXIST: 'it is there already',
  EHOSTUNREACH: 'the host can not be reached',
  EIO: 'an I/O error',
  EISDIR: 'it is a directory',
  ELOOP: 'it is a symbolic link',
  EMFILE: 'too many files are open',
  ENAMETOOLONG: 'the name is too long',
  ENETUNREACH: 'the network can not be reached',
  ENFILE: 'too many files are open on this host',
  ENOENT: 'there is no such file or directory',
  ENOMEM: 'there is not enough memory',
  ENOSPC: 'there is no room left',
  ENOTDIR: 'it is not a directory',
  ENOTEMPTY: 'it is not empty',
  ENOTFOUND: 'there is no host of that name',
  EPERM: 'it is not permitted',
  EPIPE: 'the other end is gone',
  EROFS: 'the filesystem is read-only',
  ESTALE: 'the server of the share does not know it any more',
  ETIMEDOUT: 'there was no answer in time',
  EXDEV: 'it lies on another filesystem',
};

const systemsOwn = new Map<string, string>(getSystemErrorMap().values());

/**
 * The words for an error of the system, in the place of a message of Node's (`EACCES: permission denied, open '/x'`, `connect
 * ECONNREFUSED /x`), with the path or address that it names. A message that is in words already stays.
 */
export function withoutErrno(message: string, code: string): string {
  const systemMessage = systemsOwn.get(code) ?? code;
  const ours = messages[code] ?? systemsOwn.get(code);
  const [, said, path] =
    new RegExp(`^${code}: (.+?)(?:, \\w+(?:\\(\\w+\\))?(?: '(.*)')?)?$`, 's').exec(message) ?? [];
  if (said !== undefined) {
    // A system call alone, or the system's own words; what else stands there is ours.
    const isBare = said === systemMessage || /^[a-z0-9_]+(?:\(\w+\))?$/.test(said);
    if (!isBare) return withPath(said, path);
    return ours === undefined ? message : withPath(ours, path);
  }
  const [, address] = new RegExp(`^\\w+ ${code}(?:: ${systemMessage})? ?(.*)$`, 's').exec(message) ?? [];
  return address === undefined || ours === undefined ? message : withPath(ours, address);
}

/** Where we hold a directory by its descriptor, that is of no use to anybody. */
function withPath(text: string, path = ''): string {
  const named = path.replaceAll(/\/proc\/(?:self|\d+)\/fd\/\d+\/?/g, '').replace("' -> '", ' -> ');
  return named === '' ? text : `${text} (${named})`;
}
