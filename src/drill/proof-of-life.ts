import { lstat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DrillSettings } from '../config/drill-config.js';
import { errnoOf, UmlsnapError } from '../errors.js';
import { type ProcFile, proc, version } from '../mconsole/commands.js';
import { MconsoleClient } from '../mconsole/mconsole-client.js';
import type { NotificationSource } from '../mconsole/notify-listener.js';
import { runDrillHooks } from './agent-hooks.js';
import type { ConsoleWatch } from './console-watch.js';
import { failureOfEnd, failureOn, type GuestFailure } from './guest-failure.js';
import type { SandboxedGuest } from './sandboxed-guest.js';

/** In this order, each on top of those before it. */
export type DrillStep = 'restore' | 'start' | 'kernel' | 'init' | 'expect' | 'hooks';

/** The guest did not prove that it lives: an outcome, and no failure of ours. */
export class NotAlive extends Error {
  readonly failure: GuestFailure;

  constructor(failure: GuestFailure) {
    super(failure.failure);
    this.failure = failure;
  }
}

export interface ProofOrder {
  settings: DrillSettings;
  guest: SandboxedGuest;
  watch: ConsoleWatch;
  notifications: NotificationSource;
  sharedDirectory: string;
  /** Whose socket the console's has to be; null: ours. */
  user: number | null;
  /** Told of trouble that the guest makes for the host: then it is over at once. */
  trouble: () => GuestFailure | null;
  signal: AbortSignal;
  step<T>(step: DrillStep, work: () => Promise<T>): Promise<T>;
}

const lookEveryMs = 100;
const answerLimitMs = 5000;
/** A kernel that panics may still have something to say. */
const lastWordsMs = 1500;

/**
 * Proves step by step that the guest lives; each step MUST hold before the next one counts:
 * 1. start: the kernel is up so far that its management console is there;
 * 2. kernel: it answers `version` on it;
 * 3. init: the root filesystem is mounted, and a program runs from it (a kernel whose init ends, or can't be run, panics, so that
 *    it is init that lives as long as the kernel does);
 * 4. expect: a line of the console or a notification holds what is expected; where nothing is, init has run for a while;
 * 5. hooks: the agent in the guest has run the hooks that are there for a drill.
 * @throws NoLife, or the signal's reason
 */
export async function proveLife(order: ProofOrder): Promise<void> {
  const { notifications, guest, settings, step } = order;
  const deadlineMs = performance.now() + settings.timeoutMs;
  const panic = new PanicWatch(notifications, order.watch);
  try {
    const until: Until = (wanted, inVain) => waitUntil(order, panic, deadlineMs, wanted, inVain);
    await step('start', () => until(() => hasConsole(order), 'consoleSilent'));
    const sandbox = { root: guest.root() ?? '', sharedDirectory: order.sharedDirectory };
    await withClient(guest.consolePath() ?? '', sandbox, async (client) => {
      const ask = (file: ProcFile) => proc(client, file, { timeoutMs: answerLimitMs });
      await step('kernel', () => until(() => answers(client), 'consoleSilent'));
      await step('init', () => until(() => runsInit(ask), 'initNotSeen'));
      await step('expect', () => until(isAsExpected(order, client), 'notExpected'));
      if (settings.hooks) {
        await step('hooks', async () => {
          const remainingMs = Math.max(1000, deadlineMs - performance.now());
          const failed = await runDrillHooks(client, notifications, remainingMs, order.signal);
          if (failed !== null) throw new NotAlive(failed);
        });
      }
    });
  } finally {
    panic.stop();
  }
}

type Until = (wanted: () => Promise<boolean>, inVain: GuestFailure['failure']) => Promise<void>;

/** The kernel itself says so, and not what it prints: an old log on the console is no panic. */
class PanicWatch {
  readonly stop: () => void;
  #at: number | null = null;

  constructor(notifications: NotificationSource, watch: ConsoleWatch) {
    this.stop = notifications.subscribe((notification) => {
      if (notification.type === 'panic') this.#at ??= performance.now();
      if (notification.type === 'message') watch.takeNotification(notification.text);
    });
  }

  hasHappened(): boolean {
    return this.#at !== null && performance.now() - this.#at > lastWordsMs;
  }
}

async function waitUntil(
  order: ProofOrder,
  panic: PanicWatch,
  deadlineMs: number,
  wanted: () => Promise<boolean>,
  inVain: GuestFailure['failure'],
): Promise<void> {
  const { guest, watch, signal } = order;
  const hadAnswered = inVain !== 'consoleSilent';
  for (;;) {
    signal.throwIfAborted();
    const trouble = order.trouble();
    if (trouble !== null) throw new NotAlive(trouble);
    const end = guest.end();
    if (end !== null) throw new NotAlive(failureOfEnd(watch.tail, hadAnswered, end));
    if (panic.hasHappened()) {
      throw new NotAlive(failureOn(watch.tail) ?? { failure: 'panicked', detail: 'its kernel says so' });
    }
    if (await wanted()) return;
    if (performance.now() > deadlineMs) throw new NotAlive(tooLate(order, inVain));
    await sleep(lookEveryMs, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

function tooLate({ watch, settings }: ProofOrder, failure: GuestFailure['failure']): GuestFailure {
  const waited = `within ${Math.round(settings.timeoutMs / 1000)} s`;
  if (failure === 'notExpected') return { failure, detail: `"${settings.expect ?? ''}" ${waited}` };
  const lastLine = watch.tail.trimEnd().split('\n').at(-1)?.trim().slice(0, 200) ?? '';
  return { failure, detail: lastLine === '' ? waited : `${waited}, and its console ends with: ${lastLine}` };
}

/** A link that the guest may have put there leads to nobody else's socket: it has to be its own. */
async function hasConsole({ guest, user }: ProofOrder): Promise<boolean> {
  const path = guest.consolePath();
  if (path === null) return false;
  try {
    const found = await lstat(path);
    return found.isSocket() && found.uid === (user ?? process.geteuid?.());
  } catch (error) {
    if (errnoOf(error) !== undefined) return false;
    throw error;
  }
}

async function withClient<T>(
  path: string,
  sandbox: { root: string; sharedDirectory: string },
  use: (client: MconsoleClient) => Promise<T>,
): Promise<T> {
  const client = await MconsoleClient.open(path, sandbox);
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

/** No answer, or a refusal: it is asked again as long as there is time, and whether it lives is seen elsewhere. */
async function orNothing(asked: Promise<string>): Promise<string | null> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof UmlsnapError) return null;
    throw error;
  }
}

async function answers(client: MconsoleClient): Promise<boolean> {
  return (await orNothing(version(client, { timeoutMs: answerLimitMs }))) !== null;
}

/**
 * `proc` can't read a process's own files on 6.1, but for its mounts (uml-facts §2). A page of a file is mapped (`nr_mapped`) by
 * a running program only, and a root that is a `rootfs` is still the kernel's own.
 */
async function runsInit(ask: (file: ProcFile) => Promise<string>): Promise<boolean> {
  const mounts = await orNothing(ask('1/mountinfo'));
  const vmstat = mounts === null ? null : await orNothing(ask('vmstat'));
  return mounts !== null && vmstat !== null && hasRealRoot(mounts) && hasMappedPages(vmstat);
}

/** Pure. */
export function hasRealRoot(mountinfo: string): boolean {
  const roots = mountinfo.split('\n').filter((line) => line.split(' ')[4] === '/');
  const type = / - (\S+) /.exec(roots.at(-1) ?? '')?.[1];
  return type !== undefined && type !== 'rootfs';
}

/** Pure. */
export function hasMappedPages(vmstat: string): boolean {
  return Number(/^nr_mapped (\d+)$/m.exec(vmstat)?.[1] ?? 0) > 0;
}

function isAsExpected({ settings, watch }: ProofOrder, client: MconsoleClient): () => Promise<boolean> {
  if (settings.expect !== null) return async () => watch.foundLine !== null;
  const heldAtMs = performance.now() + settings.holdMs;
  return async () => performance.now() >= heldAtMs && (await answers(client));
}
