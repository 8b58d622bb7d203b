import type { GuestConfig } from '../config/config.js';
import { isError } from '../errors.js';
import { type Guest, withGuest } from '../guest/guest.js';
import { conditionOf, isHalted } from '../guest/guest-condition.js';
import { syncWords } from '../guest/sync-guest.js';
import { holderOf } from '../locks/exclusive-lock.js';
import { leaseLock } from '../pause/lease.js';
import { type NextRun, nextRunOf } from '../schedule/next-run.js';
import { checkAgent } from './check-agent.js';
import { type CaptureLook, checkCapture, lookAtCapture } from './check-capture.js';
import { checkCondition } from './check-condition.js';
import { checkCow, lookAtCow } from './check-cow.js';
import { checkCpus } from './check-cpus.js';
import { checkDisks } from './check-disks.js';
import { checkKernel, stopFitnessOf } from './check-kernel.js';
import { checkSlots } from './check-slots.js';
import { checkStopAndGo, type RoundTrips } from './check-stop-and-go.js';
import { checkSysrq } from './check-sysrq.js';
import type { TracingLook } from './check-tracing.js';
import type { Finding } from './finding.js';
import { type AgentNow, findAgentNow } from './look-for-agent.js';
import { withOpenDisks } from './open-disks.js';
import { runCheck } from './run-check.js';

export interface GuestExamination {
  config: GuestConfig;
  stateDirectory: string;
  store: { name: string; path: string };
  tracing: TracingLook;
  /** Of its schedule; null where nothing has been recorded. */
  lastSlot: Date | null;
  /** What came out of its backups. */
  results: readonly Finding[];
  now: Date;
  /** Whether an agent answers, as the daemon knows that listens to the guest; undefined: there is no such daemon. */
  agentByDaemon: boolean | null | undefined;
  /** null: guests are not to be stopped. */
  tryRoundTrips: ((guest: GuestConfig) => Promise<RoundTrips>) | null;
}

export interface ExaminedGuest {
  findings: Finding[];
  /** null: its disks could not be looked at. */
  capture: CaptureLook | null;
  /** Of its main process; null: it does not run, or is being worked on. */
  pid: number | null;
}

/**
 * Looks at one guest. One that somebody works on is asked nothing: it may be stopped at any moment, and MUST NOT be sent
 * anything then but what its pause needs (design §2). Takes no lock while it looks: a backup that falls due goes first.
 */
export async function examineGuest(examination: GuestExamination): Promise<ExaminedGuest> {
  const { config, stateDirectory, now } = examination;
  const { name } = config;
  const worker = await workerOn(name, stateDirectory);
  const condition = await conditionOf(config);
  const next = nextRun(examination);
  const isDown = condition.state === 'notRunning' && config.schedule !== undefined;
  const isLeftOut = !isDown || (await isHalted(config));
  const findings = [checkCondition(name, condition, worker, isLeftOut)];
  if (config.schedule !== undefined) findings.push(checkSlots(config, next, now));
  findings.push(...examination.results);
  const capture = await examineCapture(examination, findings);
  if (config.disks.some(({ backing }) => backing !== undefined)) findings.push(await examineCow(config));
  const isAsked = worker === undefined && ['running', 'unknown'].includes(condition.state);
  if (!isAsked || condition.pid === null) return { findings, capture, pid: null };
  const { pid, kernel } = condition;
  findings.push(checkKernel(name, kernel ?? ''));
  await askGuest(examination, findings);
  findings.push(
    await runCheck('agent', name, async () => checkAgent(config, await agentOf(examination, pid))),
  );
  const areDisksUsable = !findings.some(({ check, level }) => check === 'disks' && level === 'critical');
  findings.push(
    areDisksUsable
      ? await runCheck('stopAndGo', name, () => stopAndGo(examination, kernel ?? '', next))
      : checkStopAndGo(name, { tried: false, why: 'its disks have to be put right first' }),
  );
  return { findings, capture, pid };
}

/** In a state directory that is closed to us we see no locks: then there may be one. */
async function workerOn(guest: string, stateDirectory: string): Promise<string | undefined> {
  try {
    return await holderOf(leaseLock(stateDirectory, guest));
  } catch (error) {
    if (!isError(error, 'StateUnusable')) throw error;
    return "somebody who can't be seen, for the state directory is closed to us";
  }
}

async function examineCapture(
  { config, store, tracing }: GuestExamination,
  findings: Finding[],
): Promise<CaptureLook | null> {
  let found: CaptureLook | null = null;
  findings.push(
    await runCheck('capture', config.name, () =>
      withOpenDisks(config, async (disks) => {
        found = await lookAtCapture(config, disks, store.path, tracing);
        return checkCapture(config, store.name, found);
      }),
    ),
  );
  return found;
}

async function examineCow(config: GuestConfig): Promise<Finding> {
  return await runCheck('cow', config.name, () =>
    withOpenDisks(config, async (disks) => checkCow(config.name, await lookAtCow(disks))),
  );
}

async function askGuest({ config }: GuestExamination, findings: Finding[]): Promise<void> {
  const { name } = config;
  const ask = (look: (guest: Guest) => Promise<Finding>) => () => withGuest(config, look);
  findings.push(
    await runCheck(
      'cpus',
      name,
      ask(async (guest) => checkCpus(config, await guest.cpuCount())),
    ),
    await runCheck(
      'disks',
      name,
      ask((guest) => withOpenDisks(config, (disks) => checkDisks(config, guest, disks))),
    ),
    await runCheck(
      'sysrq',
      name,
      ask(async (guest) =>
        checkSysrq(config, { setting: await guest.sysrqSetting(), syncText: await syncWords(guest) }),
      ),
    ),
  );
}

async function agentOf(
  { config, stateDirectory, agentByDaemon }: GuestExamination,
  pid: number,
): Promise<AgentNow> {
  if (agentByDaemon === true) return { cause: 'ready', detail: '' };
  const found = await findAgentNow({ config, stateDirectory, pid, source: null });
  // The daemon holds the socket that we would listen at, and has said what it knows.
  if (agentByDaemon === undefined || found.cause !== 'socketUnusable') return found;
  return agentByDaemon === false
    ? { cause: 'noAgent', detail: 'by the daemon' }
    : { cause: 'notAsked', detail: '' };
}

/** A backup that falls due meanwhile would find the guest busy, and be skipped. */
const dueSoonMs = 60_000;

async function stopAndGo(
  { config, tryRoundTrips, now }: GuestExamination,
  kernel: string,
  next: NextRun | null,
): Promise<Finding> {
  const { name } = config;
  const notTried = (why: string) => checkStopAndGo(name, { tried: false, why });
  if (tryRoundTrips === null) return notTried('no guest is to be stopped now');
  if (stopFitnessOf(kernel) !== 'fit') return notTried('its kernel might lose its console by it');
  if (next && next.at.getTime() - now.getTime() < dueSoonMs) return notTried('a backup of it falls due');
  return checkStopAndGo(name, await tryRoundTrips(config));
}

function nextRun({ config, lastSlot, now }: GuestExamination): NextRun | null {
  const { name, schedule, timezone, catchUp, jitterMs } = config;
  return schedule === undefined
    ? null
    : nextRunOf({ name, schedule, timezone, catchUp, jitterMs, lastSlot }, now);
}
