import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { pausesIn } from '../support/mconsole-proxy.js';

/** An answer that the witness (witness.c) has passed on: when by the monotonic clock, and by the processor's own counter. */
export type PassedAnswer = ReturnType<typeof parseAnswer>;
/** By the counter it is found again in the guest. */
export type WitnessedPause = ReturnType<typeof pausesOf>[number];

export interface Witness {
  /** What the config of umlsnap, or the recipe, names as the guest's mconsole. */
  readonly socketPath: string;
  /** The pauses since the last call. */
  takePauses(): WitnessedPause[];
}

/** Runs `use` with a witness before the guest's console, a process of its own, so that no event loop is in its clock. */
export async function withWitness<T>(
  { program, socketPath, guestSocketPath }: Record<'program' | 'socketPath' | 'guestSocketPath', string>,
  use: (witness: Witness) => Promise<T>,
): Promise<T> {
  const child = spawn(program, [socketPath, guestSocketPath], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout });
  const answers: PassedAnswer[] = [];
  try {
    const [first] = await Promise.race([once(lines, 'line'), exited]);
    if (first !== 'ready') throw new Error(`the witness of pauses did not start: ${first}`);
    lines.on('line', (line) => answers.push(parseAnswer(line)));
    return await use({ socketPath, takePauses: () => pausesOf(answers.splice(0)) });
  } finally {
    child.stdin.end();
    await exited;
  }
}

/** Pure. @throws Error when the line is none of the witness's */
export function parseAnswer(line: string) {
  const [, atNs, count, err, command] = /^(\d+) (\d+) (-?\d+) (.*)$/.exec(line) ?? [];
  if (command === undefined) throw new Error(`the witness of pauses says ${line}`);
  return { atMs: Number(atNs) / 1e6, count: Number(count), err: Number(err), command };
}

/** Pure. */
export function pausesOf(answers: PassedAnswer[]) {
  return pausesIn(answers).map(([stop, go]) => ({
    ...{ pausedMs: go.atMs - stop.atMs, fromCount: stop.count, toCount: go.count },
  }));
}
