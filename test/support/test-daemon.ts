import { expect } from 'vitest';
import { type CliOptions, type CliResult, jsonLines, type RunningCli } from './cli.js';
import { afterOurDeath } from './death-watch.js';
import type { Scene } from './scene.js';
import { waitFor } from './wait-for.js';

/** `umlsnap daemon` on a scene, and its log. */
export class TestDaemon {
  readonly #cli: RunningCli;

  private constructor(cli: RunningCli) {
    this.#cli = cli;
    // Of all commands it is the one that would run for ever.
    const { cancel } = afterOurDeath('kill -s KILL "$1"', [String(cli.pid)]);
    cli.exited.then(cancel, cancel);
  }

  /** Returns once its schedule runs. */
  static async start(
    deps: { start(args: string[], options?: CliOptions): RunningCli },
    settings: string[] = [],
    env: Record<string, string> = {},
  ): Promise<TestDaemon> {
    const daemon = new TestDaemon(deps.start(['daemon', ...settings], { timeoutMs: 30 * 60_000, env }));
    await daemon.untilLogged(/^daemon runs$/);
    return daemon;
  }

  get pid(): number {
    return this.#cli.pid;
  }

  kill(signal: NodeJS.Signals): void {
    this.#cli.kill(signal);
  }

  log(): Record<string, unknown>[] {
    const text = this.#cli.stderr();
    // The last line may not be whole yet.
    return jsonLines(text.slice(0, text.lastIndexOf('\n') + 1));
  }

  logged(message: RegExp): Record<string, unknown>[] {
    return this.log().filter(({ msg }) => typeof msg === 'string' && message.test(msg));
  }

  /** The first entry, or the one after so many. */
  untilLogged(message: RegExp, after = 0): Promise<Record<string, unknown>> {
    return waitFor(`the daemon to log ${message}`, () => this.logged(message)[after], {
      // Some of it is told at the end of a long job.
      limitMs: 120_000,
      found: () => this.#cli.stderr(),
    });
  }

  /** Has it read its config again, and returns when it has. */
  async reload(expected = /^config read again$/): Promise<Record<string, unknown>> {
    const before = this.logged(expected).length;
    this.kill('SIGHUP');
    return await this.untilLogged(expected, before);
  }

  /** Ends it as a service manager does, and expects it to end well. */
  async end(): Promise<CliResult> {
    this.kill('SIGTERM');
    return await this.ended();
  }

  async ended(): Promise<CliResult> {
    const result = await this.#cli.exited;
    expect(result, result.stderr).toMatchObject({ exitCode: 0, signal: null });
    return result;
  }

  async killed(): Promise<void> {
    this.kill('SIGKILL');
    expect((await this.#cli.exited).signal).toBe('SIGKILL');
  }
}

/**
 * A schedule whose one slot has just passed, and is not dealt with: what has it, of a guest or a global job (`:drill`), is due as soon as
 * a daemon that did not know it comes to look, however late that is.
 */
export async function dueAtOnce(scene: Pick<Scene, 'withHistory'>, ...entries: string[]): Promise<string> {
  const slot = new Date();
  const before = new Date(slot.getTime() - 1000).toISOString();
  await scene.withHistory(async (history) => {
    for (const entry of entries) await history.recordSlot(entry, before);
  });
  const time = [slot.getUTCSeconds(), slot.getUTCMinutes(), slot.getUTCHours()];
  return [...time, slot.getUTCDate(), slot.getUTCMonth() + 1, '*'].join(' ');
}
