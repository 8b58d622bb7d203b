import { type DestinationStream, type Logger, pino, stdTimeFunctions } from 'pino';
import type { Recovered } from '../../jobs/recover-at-start.js';
import type { LiveSettings } from '../control/settings.js';
import { syslogStream } from '../control/syslog.js';
import { escapeInJson, printable } from '../mconsole/printable.js';
import type { GlobalOptions } from './context.js';
import type { ShownProgress } from './progress-line.js';

/** The daemon's log on stderr; errors go to syslog as well. It says more while `debug` is on. */
export async function openLog(options: GlobalOptions, settings: LiveSettings): Promise<Logger> {
  const quiet = options.verbose ? 'debug' : options.quiet ? 'warn' : 'info';
  const levelOf = ({ debug }: { debug: boolean }) => (debug ? 'debug' : quiet);
  const isForPeople = process.stderr.isTTY && !options.json;
  const stderr = isForPeople ? await prettyLog() : jsonLog();
  const log = pino(
    { level: levelOf(settings.current), base: null, timestamp: stdTimeFunctions.isoTime },
    pino.multistream([
      { level: 'trace', stream: stderr },
      { level: 'error', stream: syslogStream() },
    ]),
  );
  settings.watch((now) => {
    log.level = levelOf(now);
  });
  return log;
}

function jsonLog(): DestinationStream {
  const stderr = pino.destination({ dest: 2, sync: true });
  return { write: (line) => void stderr.write(escapeInJson(line)) };
}

/** What it makes of a line has colours of its own: what guests have said is made harmless before. */
async function prettyLog(): Promise<DestinationStream> {
  // Here and not at the top: a daemon has no terminal. And no transport of pino's, which would be a file beside ours.
  const { default: pinoPretty } = await import('pino-pretty');
  const pretty = pinoPretty({ destination: 2, sync: true, translateTime: 'SYS:HH:MM:ss' });
  const harmless = (_: string, value: unknown) => (typeof value === 'string' ? printable(value) : value);
  return { write: (line) => void pretty.write(`${JSON.stringify(JSON.parse(line, harmless))}\n`) };
}

/** What was found and put right; nothing when there was nothing, unless it is asked for at a start. */
export function logRecovered(recovered: Recovered, log: Logger, isStart: boolean): void {
  for (const { guest, problem } of recovered.mayBePaused)
    log.fatal({ guest, problem }, 'GUEST MAY BE PAUSED');
  for (const problem of recovered.problems) log.warn(problem);
  const { mayBePaused: _, problems: __, ...done } = recovered;
  if (isStart || Object.values(done).some((list) => list.length > 0)) log.info(done, 'recovered');
}

const tellProgressEveryMs = 60_000;

/** How far jobs are, for a log: all that is said to whoever debugs, and a line a minute of work that takes long to all others. */
export class ProgressLog {
  readonly #log: Logger;
  /** By what it is about. */
  readonly #toldAtMs = new Map<string, number>();

  constructor(log: Logger) {
    this.#log = log;
  }

  tell(progress: ShownProgress): void {
    const { guest, phase, store = '', doneBytes } = progress;
    const about = `${guest} ${phase} ${store}`;
    const nowMs = performance.now();
    const toldAtMs = this.#toldAtMs.get(about);
    const isDue =
      doneBytes !== undefined && toldAtMs !== undefined && nowMs - toldAtMs >= tellProgressEveryMs;
    // A phase that begins, or begins again, is told by its end if it is short.
    if (toldAtMs === undefined || doneBytes === undefined || isDue) this.#toldAtMs.set(about, nowMs);
    if (isDue) this.#log.info(progress, 'progress');
    else this.#log.debug(progress, 'progress');
  }
}
