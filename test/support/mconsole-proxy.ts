import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { builtScript } from './script-child.js';
import type { FromProxy, Order, ProxyEvent, What } from './mconsole-proxy-messages.js';
import { waitFor } from './wait-for.js';

/**
 * A datagram proxy in front of a guest's mconsole socket, in a process of its own so that its clock is not held up by
 * a busy test. It measures pauses from outside, and can hold, drop and delay messages. Its clients have to be bound to
 * a path: `uml_mconsole`, which is bound to an abstract name, gets no answer through it.
 */
export interface MconsoleProxy {
  readonly socketPath: string;
  /** All that passed or was kept from passing, in order. */
  events(): Promise<ProxyEvent[]>;
  /** Of each pause, the ms from `stop` answered to `go` answered, as they were passed to the client. */
  pauses(): Promise<number[]>;
  /** Requests (or answers) of this command wait until they are released, but for the first `after` of them. */
  hold(command: string, what?: What, after?: number): Promise<void>;
  /** What is held passes, and no more of the command is held or lost. */
  release(command: string): Promise<void>;
  /** Waits until a request (or an answer) of this command is held: whoever sent it waits for it now. */
  untilHeld(command: string, what?: What): Promise<void>;
  /** Waits until a request (or an answer) of this command has passed. */
  untilPassed(command: string, what?: What): Promise<void>;
  /** The next `times` answers to (or requests of) this command are lost. */
  drop(command: string, times: number, what?: What): Promise<void>;
  delay(command: string, delayMs: number, what?: What): Promise<void>;
  /** The next `times` requests of this command are answered in the guest's place, and it hears nothing of them. */
  answer(command: string, text: string, times: number): Promise<void>;
  close(): Promise<void>;
}

export interface ProxyPaths {
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

export async function startMconsoleProxy({
  listenPath,
  guestSocketPath,
}: ProxyPaths): Promise<MconsoleProxy> {
  const child = fork(builtScript(new URL('./mconsole-proxy-process.ts', import.meta.url)), { execArgv: [] });
  const ask = askThrough(child);
  await ask({ listenPath, guestSocketPath });
  const events = () => ask({ order: 'events' });
  const order = async (given: Order) => void (await ask(given));
  return {
    socketPath: listenPath,
    events,
    pauses: async () => pausesOf(await events()),
    hold: async (command, what = 'request', after = 0) => {
      if (after > 0) await order({ order: 'rule', rule: { command, what, act: 'pass', times: after } });
      await order({ order: 'rule', rule: { command, what, act: 'hold' } });
    },
    release: (command) => order({ order: 'release', command }),
    untilHeld: async (command, what = 'request') => {
      const isIt = (held: ProxyEvent) => held.command === command && held.what === what;
      const held = async () => (await ask({ order: 'held' })).some(isIt);
      // A precopy comes before it, which is behind everybody else on the host.
      await waitFor(`${what} of ${command} to be held`, held, { limitMs: 120_000 });
    },
    untilPassed: async (command, what = 'request') => {
      const isIt = (event: ProxyEvent) => event.command === command && event.what === what && event.passedOn;
      await waitFor(`${what} of ${command} to pass`, async () => (await events()).some(isIt), { everyMs: 5 });
    },
    drop: (command, times, what = 'answer') =>
      order({ order: 'rule', rule: { command, what, act: 'drop', times } }),
    delay: (command, delayMs, what = 'answer') =>
      order({ order: 'rule', rule: { command, what, act: 'delay', delayMs } }),
    answer: (command, text, times) =>
      order({ order: 'rule', rule: { command, what: 'request', act: 'answer', times, text } }),
    close: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.disconnect();
      await exited;
    },
  };
}

type Asked = Order | ProxyPaths;

/** One question at a time over the child's IPC channel; its death fails the one that waits. */
function askThrough(child: ChildProcess): (asked: Asked) => Promise<ProxyEvent[]> {
  const waiting = new Map<number, (answer: FromProxy) => void>();
  let lastId = 0;
  child.on('message', (answer: FromProxy) => {
    waiting.get(answer.id)?.(answer);
    waiting.delete(answer.id);
  });
  return (asked) =>
    new Promise((resolve, reject) => {
      lastId += 1;
      const ended = () => reject(new Error('the mconsole proxy ended'));
      child.once('exit', ended);
      waiting.set(lastId, ({ events }) => {
        child.off('exit', ended);
        resolve(events);
      });
      child.send({ id: lastId, ...asked });
    });
}

/** Pure: the lengths of the pauses that these events show. */
export function pausesOf(events: ProxyEvent[]): number[] {
  const pauses: number[] = [];
  let stoppedAtMs: number | undefined;
  for (const { what, command, err, atMs, passedOn } of events) {
    if (what !== 'answer' || err !== 0 || !passedOn) continue;
    if (command === 'stop') stoppedAtMs ??= atMs;
    if (command === 'go' && stoppedAtMs !== undefined) {
      pauses.push(atMs - stoppedAtMs);
      stoppedAtMs = undefined;
    }
  }
  return pauses;
}
