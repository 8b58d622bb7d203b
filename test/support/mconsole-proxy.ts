import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { Order, ProxyState, Rule, What } from './mconsole-proxy-messages.js';
import { builtScript } from './script-child.js';
import { waitFor } from './wait-for.js';

export type MconsoleProxy = Awaited<ReturnType<typeof startMconsoleProxy>>;

interface ProxyPaths {
  /** Where it listens: what the config of umlsnap names as the guest's mconsole. */
  listenPath: string;
  guestSocketPath: string;
}

export async function withMconsoleProxy<T>(
  paths: ProxyPaths,
  use: (proxy: MconsoleProxy) => Promise<T>,
): Promise<T> {
  const proxy = await startMconsoleProxy(paths);
  try {
    return await use(proxy);
  } finally {
    await proxy.close();
  }
}

/**
 * A datagram proxy in front of a guest's mconsole socket, in a process of its own so that its clock is not held up by
 * a busy test. It measures pauses from outside, and can hold, drop and answer messages. Its clients have to be bound to
 * a path: `uml_mconsole`, which is bound to an abstract name, gets no answer through it.
 */
export async function startMconsoleProxy(paths: ProxyPaths) {
  const { ask, close, kill } = startProcess(paths);
  await ask('look');
  /** All that passed or was kept from passing, in order. */
  const events = async () => (await ask('look')).events;
  const rule = async (given: Rule) => void (await ask({ rule: given }));
  return {
    ...{ socketPath: paths.listenPath, events, close, kill },
    /** Of each pause, the ms from `stop` answered to `go` answered, as they were passed to the client. */
    pauses: async () => {
      const answers = (await events()).filter(({ what, passedOn }) => what === 'answer' && passedOn);
      return pausesIn(answers).map(([stop, go]) => go.atMs - stop.atMs);
    },
    /** Requests (or answers) of this command wait until they are released, but for the first `after` of them. */
    hold: async (command: string, what: What = 'request', after = 0) => {
      if (after > 0) await rule({ command, what, act: 'pass', times: after });
      await rule({ command, what, act: 'hold' });
    },
    /** What is held passes, and no more of the command is held or lost. */
    release: async (command: string) => void (await ask({ release: command })),
    /** Waits until a request (or an answer) of this command is held: whoever sent it waits for it now. */
    untilHeld: async (command: string, what: What = 'request') => {
      const isHeld = async () => (await ask('look')).held.some((one) => isOf(one, command, what));
      await waitFor(`${what} of ${command} to be held`, isHeld, patient);
    },
    /** Waits until a request (or an answer) of this command has passed. */
    untilPassed: async (command: string, what: What = 'request') => {
      const hasPassed = async () => (await events()).some((one) => one.passedOn && isOf(one, command, what));
      await waitFor(`${what} of ${command} to pass`, hasPassed, patient);
    },
    /** Waits until a request (or an answer) of this command was passed on or lost, after so many events before it. */
    untilSeen: async (command: string, what: What, start: number) => {
      const isSeen = async () => (await events()).slice(start).some((one) => isOf(one, command, what));
      await waitFor(`${what} of ${command}`, isSeen, patient);
    },
    /** Waits until all of an answer to this command has passed, of which the last datagram is empty, after so many events. */
    untilAnswered: async (command: string, start: number) => {
      const isLast = (one: ProxyState['events'][number]) => isOf(one, command, 'answer') && one.text === '';
      await waitFor(
        `the answer to ${command}`,
        async () => (await events()).slice(start).some(isLast),
        patient,
      );
    },
    /** The next `times` answers to (or requests of) this command are lost. */
    drop: (command: string, times: number, what: What = 'answer') =>
      rule({ command, what, act: 'drop', times }),
    /** The next `times` requests of this command are answered in the guest's place, and it hears nothing of them. */
    answer: (command: string, text: string, times: number) =>
      rule({ command, what: 'request', act: 'answer', times, text }),
  };
}

/** A precopy may come before it, which is behind everybody else on the host. */
const patient = { everyMs: 5, limitMs: 120_000 };

const isOf = (message: ProxyState['held'][number], command: string, what: What) =>
  message.command === command && message.what === what;

/** The process answers one order after the other; its death fails those that wait. */
function startProcess({ listenPath, guestSocketPath }: ProxyPaths) {
  const script = builtScript(new URL('./mconsole-proxy-process.ts', import.meta.url));
  const child = fork(script, [listenPath, guestSocketPath], { execArgv: [] });
  const waiting: { resolve: (state: ProxyState) => void; reject: (error: Error) => void }[] = [];
  const events: ProxyState['events'] = [];
  child.on('message', (state: ProxyState) => {
    events.push(...state.events);
    waiting.shift()?.resolve({ ...state, events: [...events] });
  });
  child.once('exit', () => {
    for (const { reject } of waiting) reject(new Error('the mconsole proxy ended'));
  });
  const ask = (order: Order) =>
    new Promise<ProxyState>((resolve, reject) => {
      waiting.push({ resolve, reject });
      child.send(order, (error) => error && reject(error));
    });
  const close = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.disconnect();
    await exited;
  };
  /** Its socket's name stays, and nobody listens there. */
  const kill = async () => {
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  return { ask, close, kill };
}

/** Pure: the pauses that these answers show, each from the first `stop` that succeeded to the first `go` that did. */
export function pausesIn<A extends { command: string; err?: number }>(answers: A[]): [stop: A, go: A][] {
  const pauses: [A, A][] = [];
  let stopped: A | undefined;
  for (const answer of answers.filter(({ err }) => err === 0)) {
    if (answer.command === 'stop') stopped ??= answer;
    if (answer.command !== 'go' || stopped === undefined) continue;
    pauses.push([stopped, answer]);
    stopped = undefined;
  }
  return pauses;
}
