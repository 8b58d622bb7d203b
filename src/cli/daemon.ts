import { LiveSettings, parseSettings } from '../control/settings.js';
import { runDaemon } from '../daemon/daemon.js';
import { openLog } from '../daemon/daemon-log.js';
import type { ExitCode } from '../exit-codes.js';
import { type Context, configOf } from './context.js';

/**
 * `umlsnap daemon [debug] [keep] [delay=SECONDS] [type=NUMBER]`: runs the schedule, and what it is asked for, in the
 * foreground until SIGTERM or SIGINT; SIGHUP reads the config again.
 */
export async function daemonVerb(context: Context, words: string[]): Promise<ExitCode> {
  const settings = new LiveSettings(parseSettings(words));
  const readAt = new Date();
  const config = await configOf(context);
  return await runDaemon(config, readAt, settings, await openLog(context.options, settings));
}
