import { refusalReason } from './refusal-reason.js';

/** What is done to the copy only. */
const storeCalls = ['write', 'ftruncate', 'fallocate', 'sync_file_range', 'fdatasync'];

/** The text for people of an I/O error during a capture. Pure. */
export function describeFailure(failure: {
  message: string;
  code: string | undefined;
  syscall: string | undefined;
}): string {
  const { code, syscall } = failure;
  if (code === 'ENOSPC') return 'the store has no room left (ENOSPC)';
  if (code === 'EDQUOT') return "the store's quota is used up (EDQUOT)";
  if (syscall === 'ioctl(FICLONE)') return refusalReason(code ?? 'unknown error', null);
  if (syscall === 'read' || syscall === 'lseek') return `the disk can't be read (${code})`;
  if (storeCalls.includes(syscall ?? '')) return `the store can't be written to (${code})`;
  return failure.message;
}
