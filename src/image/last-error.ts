import { getSystemErrorName } from 'node:util';
import koffi from 'koffi';

/** Of the system call that has just failed on this thread, as an error of Node's kind. */
export function lastError(syscall: string): NodeJS.ErrnoException {
  const errno = koffi.errno();
  const code = getSystemErrorName(-errno);
  return Object.assign(new Error(`${code}: ${syscall}`), { code, errno: -errno, syscall });
}
