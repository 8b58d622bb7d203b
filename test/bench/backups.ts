import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startCli } from '../support/cli.js';
import { pids, readOrNothing } from '../support/guest-processes.js';
import { runTool } from '../support/run-tool.js';
import { formatMs } from './format.js';
import { type MethodName, methods } from './methods.js';
import type { Stage } from './stage.js';

/** Far more than a copy of the largest image takes, within the pause or beside it. */
const limitMs = 20 * 60_000;

interface BackupDone {
  /** null: nothing of umlsnap ran. */
  memory: MemoryPeak | null;
  /** What is to be told of it beside the figures; null: all went as asked. */
  remark: string | null;
  /** What umlsnap says that the pause was made of; null: nothing of it ran. */
  inside: string | null;
}

/** What is of interest here of the summary that a job gives. */
interface Summary {
  error?: { message: string } | null;
  phases?: { phase: string; durationMs: number }[];
  precopy?: { tracker: string; trackerProblem: string | null; converged: boolean } | null;
}

/** Backs the guest up once, by this method. @throws Error with the reason, when there is no backup */
export function backUp(stage: Stage, method: MethodName): Promise<BackupDone> {
  const { settings } = methods[method];
  return settings === null ? byRecipe(stage) : byUmlsnap(stage, settings);
}

/** Exactly as documented, and in the documented order. */
async function byRecipe({ dir, guest, witness }: Stage): Promise<BackupDone> {
  const copy = join(dir, 'recipe.img');
  const console = (...command: string[]) =>
    runTool('uml_mconsole', [witness.socketPath, ...command], limitMs);
  try {
    await console('stop');
    try {
      await console('sysrq', 's');
      await runTool('cp', ['--sparse=auto', guest.diskPath, copy], limitMs);
    } finally {
      await console('go');
    }
  } finally {
    await rm(copy, { force: true });
  }
  return { memory: null, remark: null, inside: null };
}

async function byUmlsnap(stage: Stage, settings: Record<string, string>): Promise<BackupDone> {
  const { dir, guest, witness } = stage;
  const config = {
    state: join(dir, 'state'),
    stores: { local: { type: 'directory', path: join(dir, 'store') } },
    defaults: {
      // Whatever is dirty: it is the pause of a capture that is measured, and a guest at full speed is never clean.
      ...{ require: 'crash', syncTries: 1, settleTimeout: '500ms', pauseBudget: '10m' },
      // What the disk has to hold is bounded.
      keep: { last: 1 },
    },
    guests: { bench: { mconsole: witness.socketPath, disks: { ubd0: guest.diskPath }, ...settings } },
  };
  const file = join(dir, 'config.yaml');
  await mkdir(dir, { recursive: true });
  await writeFile(file, JSON.stringify(config));
  const cli = startCli(['-c', file, '--json', 'snapshot', 'bench'], { timeoutMs: limitMs });
  const memoryPeak = watchMemory(cli.pid);
  const { exitCode, stderr, json } = await cli.exited.finally(memoryPeak);
  const { error, phases, precopy }: Summary = json.find(({ type }) => type === 'summary') ?? {};
  // 3: done, with warnings; a guest under load is never found clean.
  if (exitCode !== 0 && exitCode !== 3)
    throw new Error(error?.message ?? stderr.trim().replaceAll(/^umlsnap: /gm, ''));
  return { memory: memoryPeak(), remark: remarkOf(precopy), inside: phasesOf(phases) };
}

/** What is no failure, but not what was asked for either. */
function remarkOf(precopy: Summary['precopy']): string | null {
  if (typeof precopy?.trackerProblem === 'string') return `compared, since ${precopy.trackerProblem}`;
  const isBehind = precopy?.tracker === 'traced' && precopy.converged === false;
  return isBehind ? 'the guest wrote faster than it could be copied' : null;
}

/** The last of each phase of the pause, as umlsnap itself has timed it. */
function phasesOf(phases: Summary['phases'] = []): string {
  return ['stop', 'check', 'capture', 'go']
    .map((name) => {
      const ms = phases.findLast(({ phase }) => phase === name)?.durationMs;
      return `${name} ${ms === undefined ? '?' : formatMs(ms)}`;
    })
    .join(', ');
}

/** Seldom: it takes some milliseconds, which the pause would feel. The kernel itself keeps the peak of the command. */
const lookEveryMs = 250;

/** The most that a command held in memory at once: by its own VmHWM, and the sum of its RSS and those of all that it has started. */
type MemoryPeak = ReturnType<ReturnType<typeof watchMemory>>;

/** Watches what a process and all that it has started hold in memory, until the returned function is called for the peak. */
function watchMemory(pid: number) {
  const peak = { ownBytes: 0, togetherBytes: 0 };
  const timer = setInterval(() => {
    const togetherBytes = familyOf(pid).reduce((sum, one) => sum + statusNumber(one, 'VmRSS'), 0) * 1024;
    peak.ownBytes = Math.max(peak.ownBytes, statusNumber(pid, 'VmHWM') * 1024);
    peak.togetherBytes = Math.max(peak.togetherBytes, togetherBytes);
  }, lookEveryMs);
  return () => {
    clearInterval(timer);
    return peak;
  };
}

/** The process and its descendants, also those in sessions of their own. */
function familyOf(pid: number): number[] {
  const parents = pids().map((one) => ({ one, parent: statusNumber(one, 'PPid') }));
  const family = new Set([pid]);
  // A set is walked to its end, with what is added on the way.
  for (const member of family) {
    for (const { one, parent } of parents) if (parent === member) family.add(one);
  }
  return [...family];
}

function statusNumber(pid: number, field: string): number {
  return Number(new RegExp(`^${field}:\\s*(\\d+)`, 'm').exec(readOrNothing(`/proc/${pid}/status`))?.[1] ?? 0);
}
