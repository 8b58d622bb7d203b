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
export const methods = ['reflink', 'copy', 'precopy'] as const;
type Method = (typeof methods)[number];

/** Between these two of our clock it happened. */
interface Kill {
  fromMs: number;
  toMs: number;
}

interface Aim {
  victim: (typeof victims)[number];
  random: Random;
}

/** How long a snapshot by a method takes when nobody kills it, and how long its pause. */
interface Times {
  commands: Commands;
  wholeMs: number;
  pauseMs: number;
}

export type TimesOfMethods = Awaited<ReturnType<typeof measureMethods>>;

export async function measureMethods(scene: Scene) {
  const measure = async (capture: Method): Promise<Times> => {
    const tracker = capture === 'precopy' ? { precopyTracker: 'traced' } : {};
    const commands = await scene.variant({ capture, require: 'crash', ...tracker });
    const startedAtMs = monotonicMs();
    const { exitCode, stderr } = await commands.startSnapshot().exited;
    if (exitCode !== 0 && exitCode !== 3)
      throw new Error(`a snapshot by ${capture} ended with ${exitCode}: ${stderr}`);
    const { stoppedAtMs, wentAtMs } = lastPauseIn(await scene.proxy.events());
    return { commands, wholeMs: monotonicMs() - startedAtMs, pauseMs: wentAtMs - stoppedAtMs };
  };
  await measure('copy'); // the store is made, and files are read for the first time
  return {
    reflink: await measure('reflink'),
    copy: await measure('copy'),
    precopy: await measure('precopy'),
  };
}

/** Snapshots until one meets its victim at the instant that was drawn for it. */
export async function killAtRandom(scene: Scene, times: Times, aim: Aim): Promise<Kill> {
  for (let tries = 0; tries < 20; tries++) {
    const cli = times.commands.startSnapshot();
    const killNow = aim.random() < 0.7 ? killInPause : killAnytime;
    const killed = await killNow(scene, cli, times, aim);
    await cli.exited;
    if (killed !== null) return killed;
  }
  throw new Error('20 snapshots were over before their kill');
}

type KillNow = (scene: Scene, cli: RunningCli, times: Times, aim: Aim) => Promise<Kill | null>;

const killAnytime: KillNow = async (scene, cli, { wholeMs }, { victim, random }) => {
  const atMs = monotonicMs() + random() * wholeMs;
  await sleep(atMs - monotonicMs());
  // One that is not there yet is killed at an instant after it has come.
  const whom = await victimOf(victim, cli);
  if (monotonicMs() > atMs + 5) await sleep(random() * 0.5 * wholeMs);
  return whom === null ? null : kill(scene, whom, cli);
};

const killInPause: KillNow = async (scene, cli, { pauseMs }, { victim, random }) => {
  const whom = await victimOf(victim, cli);
  // It comes just before its `stop`.
  const isLeased = () => existsSync(`${scene.state}/leases/debian.json`);
  if (whom === null || !(await untilEnd(cli, isLeased, 1))) return null;
  // From here on without the event loop: a turn of it may take longer than all of a pause.
  while (!blockUntil(() => isStopped(scene.guest), 200)) if (hasEnded(cli)) return null;
  const atMs = monotonicMs() + random() * pauseMs;
  blockUntil(() => monotonicMs() >= atMs, pauseMs + 1);
  return kill(scene, whom, cli);
};

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

/** As soon as it is there; null when the command has ended without it. */
async function victimOf(victim: Aim['victim'], cli: RunningCli): Promise<number | 'all' | null> {
  if (victim === 'all of them') return 'all';
  if (victim === 'the orchestrator') return cli.pid;
  const script = victim === 'the guardian' ? /guardian-process\.js/ : /capture-child\.js/;
  return await untilEnd(
    cli,
    () => {
      const children = readOrNothing(`/proc/${cli.pid}/task/${cli.pid}/children`).split(' ').filter(Boolean);
      return Number(children.find((pid) => script.test(readOrNothing(`/proc/${pid}/cmdline`))) ?? 0);
    },
    3,
  );
}

/** What `look` gives as soon as that is something; null when the command has ended without. */
async function untilEnd<T>(cli: RunningCli, look: () => T, everyMs: number): Promise<T | null> {
  while (!hasEnded(cli)) {
    const found = look();
    if (found) return found;
    await sleep(everyMs);
  }
  return null;
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
