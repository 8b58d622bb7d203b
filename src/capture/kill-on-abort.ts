/**
 * Waits for what a child is at, and no longer than the signal allows: then the child is killed rather than asked, since it may be
 * inside a system call or stopped, and a guest may be waiting.
 * @throws the signal's reason at once when it aborts
 */
export async function killOnAbort<T>(
  signal: AbortSignal,
  kill: () => void,
  work: () => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  let abort = () => {};
  const cut = new Promise<never>((_, reject) => {
    abort = () => {
      kill();
      reject(signal.reason);
    };
    signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([work(), cut]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
