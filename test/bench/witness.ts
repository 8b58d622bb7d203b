import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** An answer that the witness (witness.c) has passed on. */
export interface PassedAnswer {
  /** Of the monotonic clock. */
  atMs: number;
  /** Of the processor's own counter. */
  count: number;
  err: number;
  command: string;
}

export interface WitnessedPause {
  pausedMs: number;
  /** By the processor's own counter, to find it again in the guest. */
  fromCount: number;
  toCount: number;
}

export interface Witness {
  /** What the config of umlsnap, or the recipe, names as the guest's mconsole. */
  readonly socketPath: string;
  /** The pauses since the last call. */
  takePauses(): WitnessedPause[];
}

export interface WitnessOptions {
  program: string;
  listenPath: string;
  guestSocketPath: string;
}

/** Runs `use` with a witness before the guest's console, a process of its own, so that no event loop is in its clock. */
export async function withWitness<T>(
  { program, listenPath, guestSocketPath }: WitnessOptions,
  use: (witness: Witness) => Promise<T>,
): Promise<T> {
  const child = spawn(program, [listenPath, guestSocketPath], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout });
  let answers: PassedAnswer[] = [];
  try {
    const [first] = await Promise.race([once(lines, 'line'), exited]);
    if (first !== 'ready') throw new Error(`the witness of pauses did not start: ${first}`);
    lines.on('line', (line) => answers.push(parseAnswer(line)));
    return await use({
      socketPath: listenPath,
      takePauses: () => {
        const pauses = pausesOf(answers);
        answers = [];
        return pauses;
      },
    });
  } finally {
    child.stdin.end();
    await exited;
  }
}

/** Pure. @throws Error when the line is none of the witness's */
export function parseAnswer(line: string): PassedAnswer {
  const [, atNs, count, err, command] = /^(\d+) (\d+) (-?\d+) (.*)$/.exec(line) ?? [];
  if (command === undefined) throw new Error(`the witness of pauses says ${line}`);
  return {
    atMs: Number(atNs) / 1e6,
    count: Number(count),
    err: Number(err),
    command,
  };
}

/** Pure: the pauses that these answers show, each from the first `stop` that succeeded to the first `go` that did. */
export function pausesOf(answers: PassedAnswer[]): WitnessedPause[] {
  const pauses: WitnessedPause[] = [];
  let stopped: PassedAnswer | undefined;
  for (const answer of answers) {
    if (answer.err !== 0) continue;
    if (answer.command === 'stop') stopped ??= answer;
    if (answer.command !== 'go' || stopped === undefined) continue;
    const pausedMs = answer.atMs - stopped.atMs;
    pauses.push({ pausedMs, fromCount: stopped.count, toCount: answer.count });
    stopped = undefined;
  }
  return pauses;
}
