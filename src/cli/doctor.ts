import { type DoctorDeps, doctor } from '../../jobs/doctor.js';
import { allStores, storesOf, withApp, withHistoryToRead } from '../compose.js';
import type { Config, GuestConfig } from '../config/config.js';
import { ControlClient } from '../control/control-client.js';
import { daemonLock } from '../control/daemon-lock.js';
import { type DaemonStatus, digestOf } from '../control/daemon-status.js';
import type { DaemonLook } from '../doctor/check-daemon.js';
import type { RoundTrips } from '../doctor/check-stop-and-go.js';
import { type Finding, type Level, worstLevel } from '../doctor/finding.js';
import { pluginLine, pluginStatus } from '../doctor/plugin-line.js';
import { tryRoundTrips } from '../doctor/round-trips.js';
import { countText, explainError } from '../error-text.js';
import { isError, UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { holderOf } from '../locks/exclusive-lock.js';
import { printableLine } from '../mconsole/printable.js';
import { emit, type Output, oneLine, printLine, tell, warn } from '../output.js';
import { type Context, configOf, guestOf } from './context.js';
import { withInterrupt } from './interrupt.js';
import { statusFromDaemon } from './status-from-daemon.js';

export interface DoctorOptions {
  /** As a monitoring plugin: one line, and its exit code. */
  nagios?: boolean;
  /** Stops each guest twice for a moment. */
  stopGo: boolean;
}

/** `umlsnap doctor [GUEST]`: whether backups will work on this host, what is in their way, and how to mend it. */
export async function doctorVerb(
  context: Context,
  guest: string | undefined,
  options: DoctorOptions,
): Promise<ExitCode> {
  if (options.nagios) return await asPlugin(() => examine(context, guest, false));
  const findings = await examine(context, guest, options.stopGo);
  printFindings(context.output, findings);
  const level = worstLevel(findings.map((finding) => finding.level));
  if (level === 'critical') return exitCodes.failed;
  return level === 'ok' ? exitCodes.done : exitCodes.warnings;
}

/** Whoever reads a plugin knows four exit codes and one line: a config that is wrong is told in these as well. */
async function asPlugin(examineAll: () => Promise<Finding[]>): Promise<ExitCode> {
  try {
    const findings = await examineAll();
    printLine(pluginLine(findings));
    return pluginStatus(worstLevel(findings.map(({ level }) => level)));
  } catch (error) {
    printLine(`UMLSNAP UNKNOWN - ${printableLine(explainError(error)).replaceAll('|', '/')}`);
    return pluginStatus('unknown');
  }
}

/** Does none of what every other command begins with: what dead processes have left is to be told, and not put right. */
async function examine(context: Context, guest: string | undefined, stopGo: boolean): Promise<Finding[]> {
  const config = await configOf(context);
  const guests = guest === undefined ? Object.values(config.guests) : [guestOf(config, guest)];
  return await withInterrupt((signal) =>
    withHistoryToRead(config, async (history) => {
      const deps: DoctorDeps = {
        ...{ config, history, daemon: await lookAtDaemon(config) },
        stores: allStores(config),
        capturedInto: (guest) => storesOf(config, guest).capturedInto,
        agentsByDaemon: await agentsByDaemon(config),
        tryRoundTrips: stopGo ? (wanted) => roundTripsOf(config, wanted, signal) : null,
      };
      const findings = await doctor(deps, guests);
      signal.throwIfAborted();
      return findings;
    }),
  );
}

/** The history is opened to be written only now: a pause MUST stand in it before the `stop`. */
async function roundTripsOf(config: Config, guest: GuestConfig, signal: AbortSignal): Promise<RoundTrips> {
  signal.throwIfAborted();
  return await withApp(config, ({ history, stateDirectory }) => {
    const storePath = storesOf(config, guest).capturedInto.path;
    return tryRoundTrips(guest, { stateDirectory, storePath, history }, signal);
  });
}

async function lookAtDaemon(config: Config): Promise<DaemonLook> {
  const isRunning = (await holderIfSeen(config.state)) !== undefined;
  const status = isRunning ? await statusOf(config) : null;
  const scheduled = Object.values(config.guests).filter(({ schedule }) => schedule !== undefined);
  return {
    isRunning,
    answer: status && {
      ...{ pid: status.pid, configFile: status.configFile },
      hasThisConfig: status.configDigest === digestOf(config),
    },
    configFile: config.file,
    scheduled: scheduled.map(({ name }) => name),
  };
}

/** Of a state directory that is closed to us its own check tells. */
async function holderIfSeen(state: string): Promise<string | undefined> {
  try {
    return await holderOf(daemonLock(state));
  } catch (error) {
    if (!isError(error, 'StateUnusable')) throw error;
    return undefined;
  }
}

async function statusOf(config: Config): Promise<DaemonStatus | null> {
  try {
    return await new ControlClient(config.state).status();
  } catch (error) {
    if (error instanceof UmlsnapError) return null;
    throw error;
  }
}

async function agentsByDaemon(config: Config): Promise<Map<string, boolean | null> | null> {
  try {
    const guests = await statusFromDaemon(config);
    return guests && new Map(guests.map(({ guest, agent }) => [guest, agent]));
  } catch (error) {
    // It went away while it was asked: then we look ourselves.
    if (!(error instanceof UmlsnapError)) throw error;
    return null;
  }
}

const levels: Level[] = ['critical', 'warning', 'unknown', 'ok'];
const titles: Record<Level, string> = {
  ok: 'ok',
  warning: 'WARNING',
  critical: 'CRITICAL',
  unknown: 'UNKNOWN',
};

/** For programs one object a finding, and a summary; for people a list by host, store and guest, with what to do. */
function printFindings(output: Output, findings: readonly Finding[]): void {
  for (const finding of findings) emit(output, { type: 'finding', ...finding });
  const counts = Object.fromEntries(
    levels.map((level) => [level, findings.filter((finding) => finding.level === level).length]),
  );
  const level = worstLevel(findings.map((finding) => finding.level));
  emit(output, { type: 'summary', kind: 'doctor', level, ...counts });
  if (output.json) return;
  if (output.quiet) {
    for (const { about, check, what } of findings.filter((finding) => finding.level !== 'ok'))
      warn(`${about ?? 'host'}: ${check}: ${what}`);
    return;
  }
  for (const [about, ofAbout] of groupsOf(findings)) {
    tell(output, `${about}`);
    for (const finding of ofAbout) tell(output, linesOf(finding));
  }
  const parts = levels.filter((one) => counts[one] !== 0).map((one) => `${counts[one]} ${one}`);
  tell(output, `\n${countText(findings.length, 'check')}: ${parts.join(', ')}.`);
}

const storeChecks = ['store', 'room', 'owners'];

function groupsOf(findings: readonly Finding[]): Map<string, Finding[]> {
  const groups = new Map<string, Finding[]>();
  for (const finding of findings) {
    const { about, check } = finding;
    const title = about === null ? 'Host' : `${storeChecks.includes(check) ? 'Store' : 'Guest'} ${about}`;
    groups.set(title, [...(groups.get(title) ?? []), finding]);
  }
  return groups;
}

/** What it means and how to mend it stand below, where there is something to mend. Some of it is in a guest's own words. */
function linesOf({ level, check, what, means, mend }: Finding): string {
  const row = (left: string, middle: string, text: string) =>
    `  ${left.padEnd(9)} ${middle.padEnd(10)} ${oneLine(text)}`;
  const rows = [row(titles[level], check, what)];
  if (means !== null) rows.push(row('', '  means', means), row('', '  mend', mend));
  return rows.join('\n');
}
