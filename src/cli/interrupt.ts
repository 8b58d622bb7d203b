import { UmlsnapError } from '../errors.js';
import { warn } from '../output.js';

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Runs `use` with a signal that aborts when a person or the system wants us to end: what was begun is then undone, the
 * guest resumed first, and people are told so. A second Ctrl-C changes nothing: undoing is short, and leaving it half done is worse.
 */
export async function withInterrupt<T>(
  use: (signal: AbortSignal) => Promise<T>,
  tellOf: (text: string) => void = warn,
): Promise<T> {
  const controller = new AbortController();
  const onSignal = (signal: NodeJS.Signals) => {
    const isFirst = !controller.signal.aborted;
    // First of all: the terminal that we would tell may be what has gone away.
    controller.abort(new UmlsnapError('Interrupted', { signal }));
    tellOf(isFirst ? `${signal}: undoing what was begun` : 'still undoing what was begun');
  };
  for (const signal of signals) process.on(signal, onSignal);
  try {
    return await use(controller.signal);
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
  }
}
