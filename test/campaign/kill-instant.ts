import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../../src/errors.js';
import { monotonicMs } from '../fixtures/fake-guest.js';
import type { RunningCli } from '../support/cli.js';
import { readOrNothing } from '../support/guest-processes.js';
import type { ProxyEvent } from '../support/mconsole-proxy-messages.js';
import type { RealGuest } from '../support/real-guest.js';
import type { Commands, Scene } from '../support/scene.js';
import type { Random } from './campaign.js';

/** When to kill whom: at any instant of a snapshot, and more often than chance would have it within its pause. */

export const victims = ['the orchestrator', 'the guardian', 'the capture child', 'all of them'] as const;
export type Victim = (typeof victims)[number];
export const methods = ['reflink', 'copy', 'precopy'] as const;
export type Method = (typeof methods)[number];

const settings: Record<Method, Record<string, unknown>> = {
  reflink: { capture: 'reflink', require: 'crash' },
  copy: { capture: 'copy', require: 'crash' },
  precopy: { capture: 'precopy', precopyTracker: 'traced', require: 'crash' },
};

/** Between these two of our clock it happened. */
export interface Kill {
  fromMs: number;
  toMs: number;
}

export interface Aim {
  victim: Victim;
  method: Method;
  random: Random;
}

/** How long a snapshot by this method takes when nobody kills it, and how long its pause. */
interface Times {
  commands: Commands;
  wholeMs: number;
  pauseMs: number;
}

export class Pauses {
  readonly #times: Record<Method, Times>;

  private constructor(times: Record<Method, Times>) {
    this.#times = times;
  }

  static async measuredIn(scene: Scene): Promise<Pauses> {
    const measure = async (method: Method): Promise<Times> => {
      const commands = await scene.variant(settings[method]);
      const startedAtMs = monotonicMs();
      const cli = commands.startSnapshot();
      const { exitCode, stderr } = await cli.exited;
      if (exitCode !== 0 && exitCode !== 3)
        throw new Error(`a snapshot by ${method} ended with ${exitCode}: ${stderr}`);
      const { stoppedAtMs, wentAtMs } = lastPauseIn(await scene.proxy.events());
      return { commands, wholeMs: monotonicMs() - startedAtMs, pauseMs: wentAtMs - stoppedAtMs };
    };
    await measure('copy'); // the store is made, and files are read for the first time
    return new Pauses({
      reflink: await measure('reflink'),
      copy: await measure('copy'),
      precopy: await measure('precopy'),
    });
  }

  of(method: Method): Times {
    return this.#times[method];
  }
}

/** Snapshots until one meets its victim at the instant that was drawn for it. */
export async function killAtRandom(scene: Scene, pauses: Pauses, aim: Aim): Promise<Kill> {
  for (let tries = 0; tries < 20; tries++) {
    const times = pauses.of(aim.method);
    const cli = times.commands.startSnapshot();
    const isAimedAtPause = aim.random() < 0.7;
    const kill = isAimedAtPause
      ? await killInPause(scene, cli, times, aim)
      : await killAnytime(scene, cli, times, aim);
    await cli.exited;
    if (kill !== null) return kill;
  }
  throw new Error(`20 snapshots by ${aim.method} were over before their kill`);
}

async function killAnytime(
  scene: Scene,
  cli: RunningCli,
  times: Times,
  { victim, random }: Aim,
): Promise<Kill | null> {
  const atMs = monotonicMs() + random() * times.wholeMs;
  await sleep(atMs - monotonicMs());
  // One that is not there yet is killed at an instant after it has come.
  const isThere = await victimOf(victim, cli);
  if (monotonicMs() > atMs + 5) await sleep(random() * 0.5 * times.wholeMs);
  return isThere === null ? null : kill(scene, isThere, cli);
}

async function killInPause(
  scene: Scene,
  cli: RunningCli,
  { pauseMs }: Times,
  { victim, random }: Aim,
): Promise<Kill | null> {
  const whom = await victimOf(victim, cli);
  if (whom === null || !(await isLeased(scene, cli))) return null;
  // From here on without the event loop: a turn of it may take longer than all of a pause.
  while (!blockUntil(() => isStopped(scene.guest), 200)) if (hasEnded(cli)) return null;
  const atMs = monotonicMs() + random() * pauseMs;
  blockUntil(() => monotonicMs() >= atMs, pauseMs + 1);
  return kill(scene, whom, cli);
}

const cell = new Int32Array(new SharedArrayBuffer(4));

function blockUntil(isSo: () => boolean, limitMs: number): boolean {
  const endMs = monotonicMs() + limitMs;
  while (!isSo()) {
    if (monotonicMs() > endMs) return false;
    Atomics.wait(cell, 0, 0, 0.2);
  }
  return true;
}

/** A stopped guest waits for nothing but the next datagram. */
function isStopped({ pid }: RealGuest): boolean {
  return readOrNothing(`/proc/${pid}/wchan`) === '__skb_wait_for_more_packets';
}

/** Null when there was nothing left to kill. */
function kill(scene: Scene, pid: number | 'all', cli: RunningCli): Kill | null {
  const fromMs = monotonicMs();
  try {
    if (pid === 'all') {
      if (hasEnded(cli)) return null;
      scene.killCommands();
    } else process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return null;
    throw error;
  }
  return { fromMs, toMs: monotonicMs() };
}

const scripts: Partial<Record<Victim, RegExp>> = {
  'the guardian': /guardian-process\.js/,
  'the capture child': /(capture|precopy)-child\.js/,
};

/** As soon as it is there; null when the command has ended without it. */
async function victimOf(victim: Victim, cli: RunningCli): Promise<number | 'all' | null> {
  if (victim === 'all of them') return 'all';
  const script = scripts[victim];
  if (!script) return cli.pid;
  while (!hasEnded(cli)) {
    const children = readOrNothing(`/proc/${cli.pid}/task/${cli.pid}/children`).split(' ').filter(Boolean);
    const found = children.find((pid) => script.test(readOrNothing(`/proc/${pid}/cmdline`)));
    if (found !== undefined) return Number(found);
    await sleep(3);
  }
  return null;
}

/** As soon as it has its lease, which comes just before its `stop`; false when it has ended without. */
async function isLeased(scene: Scene, cli: RunningCli): Promise<boolean> {
  const lease = `${scene.state}/leases/debian.json`;
  while (!hasEnded(cli)) {
    if (existsSync(lease)) return true;
    await sleep(1);
  }
  return false;
}

/** A zombie has: its end was not told to us yet. */
function hasEnded({ pid }: RunningCli): boolean {
  return !/^State:\t[^ZX]/m.test(readOrNothing(`/proc/${pid}/status`));
}

const isAnswer = (command: string) => (event: ProxyEvent) =>
  event.what === 'answer' && event.command === command && event.err === 0;

function lastPauseIn(events: readonly ProxyEvent[]): { stoppedAtMs: number; wentAtMs: number } {
  const stopped = events.findLastIndex(isAnswer('stop'));
  const went = events.slice(stopped).find(isAnswer('go'));
  return {
    stoppedAtMs: events[stopped]?.atMs ?? Number.NaN,
    wentAtMs: went?.atMs ?? Number.POSITIVE_INFINITY,
  };
}

/** Whether it came when the last `stop` was answered, and before its `go` was. Pure. */
export function isInPause(events: readonly ProxyEvent[], { fromMs, toMs }: Kill): boolean {
  const { stoppedAtMs, wentAtMs } = lastPauseIn(events);
  return stoppedAtMs <= fromMs && toMs < wentAtMs;
}
