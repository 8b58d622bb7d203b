import { type DestinationStream, type Logger, pino, stdTimeFunctions } from 'pino';
import type { LiveSettings } from '../control/settings.js';
import type { Recovered } from '../job/recover-at-start.js';
import { escapeInJson, printable } from '../mconsole/printable.js';
import { humanLine, isJournal, journalLines, type LogEntry } from './log-format.js';
import { syslogStream } from './syslog.js';

/** How much it says, and to whom. */
export interface LogOptions {
  verbose?: boolean;
  quiet?: boolean;
  json?: boolean;
}

/**
 * The daemon's log on stderr: for people on a terminal and in systemd's journal, JSON elsewhere. Errors go to syslog as well, which the
 * journal would only have twice. It says more while `debug` is on.
 */
export async function openLog(options: LogOptions, settings: LiveSettings): Promise<Logger> {
  const quiet = options.verbose ? 'debug' : options.quiet ? 'warn' : 'info';
  const levelOf = ({ debug }: { debug: boolean }) => (debug ? 'debug' : quiet);
  const isInJournal = !options.json && isJournal();
  const isOnTerminal = process.stderr.isTTY && !options.json;
  const stderr = isOnTerminal ? await prettyLog() : isInJournal ? journalLog() : jsonLog();
  const log = pino(
    { level: levelOf(settings.current), base: null, timestamp: stdTimeFunctions.isoTime },
    pino.multistream([
      { level: 'trace', stream: stderr },
      ...(isInJournal ? [] : [{ level: 'error' as const, stream: syslogStream() }]),
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

function journalLog(): DestinationStream {
  const stderr = pino.destination({ dest: 2, sync: true });
  return { write: (line) => void stderr.write(journalLines(JSON.parse(line) as LogEntry)) };
}

/** What it makes of a line has colours of its own: what guests have said is made harmless before. */
async function prettyLog(): Promise<DestinationStream> {
  // Here and not at the top: a daemon has no terminal. And no transport of pino's, which would be a file beside ours.
  const { default: pinoPretty } = await import('pino-pretty');
  const pretty = pinoPretty({ destination: 2, sync: true, translateTime: 'SYS:HH:MM:ss' });
  const shown = (entry: LogEntry) => {
    const { level, time } = entry;
    return JSON.stringify({ level, time, msg: printable(humanLine(entry)) });
  };
  return { write: (line) => void pretty.write(`${shown(JSON.parse(line) as LogEntry)}\n`) };
}

/** What was found and put right; nothing when there was nothing, unless it is asked for at a start. */
export function logRecovered(recovered: Recovered, log: Logger, isStart: boolean): void {
  for (const { guest, problem } of recovered.mayBePaused)
    log.fatal({ guest, problem }, 'GUEST MAY BE PAUSED');
  for (const problem of recovered.problems) log.warn(problem);
  const { mayBePaused: _, problems: __, ...done } = recovered;
  if (isStart || Object.values(done).some((list) => list.length > 0)) log.info(done, 'recovered');
}
