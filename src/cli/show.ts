import type { App } from '../compose.js';
import { formatFigures } from '../config/format-figure.js';
import type { JudgedCopy } from '../copies/ask-stores.js';
import { type CopyQuery, findCopies, findCopy } from '../copies/find-copy.js';
import { UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import type { JobWithDetails } from '../history/job-queries.js';
import { levelText } from '../history/levels.js';
import {
  type DrillRecord,
  type JobLogLine,
  type Ownership,
  type VerificationRecord,
  whatFailedWhere,
} from '../history/records.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import { emit, oneLine, printLine, printRows } from '../output.js';
import { withStartedApp } from '../start.js';
import type { Manifest } from '../store/manifest.js';
import { adviceFor } from '../store/soundness.js';
import { type Context, configOf } from './context.js';
import { printDefinition, shellCommand } from './definition.js';
import { formatBytes, formatMs, formatTime } from './format.js';
import { describeFilesystem, resultText } from './verification.js';

/** `umlsnap show NAME`: one snapshot with the job that made it, or one job with its phases, pauses and log. */
export async function showVerb(
  context: Context,
  name: string,
  { store: only, definition = false }: { store?: string; definition?: boolean } = {},
): Promise<ExitCode> {
  const config = await configOf(context);
  return await withStartedApp(config, async (app) => {
    const { history } = app;
    if (!name.includes('@')) {
      showJob(context, await jobNamed(history, name));
      return exitCodes.done;
    }
    const found = await findCopy(app, { name, store: only, takesUnsound: true });
    const { store, stored, soundness, ownership } = found;
    const { snapshot } = stored;
    if (!('manifest' in stored)) throw await whyUnreadable(app, { name: snapshot, store: only });
    if (definition) {
      const { manifest } = stored;
      const command = manifest.definition && shellCommand(manifest.definition);
      const { kernel } = manifest;
      const facts = { snapshot, kernel, definition: manifest.definition ?? null, command: command ?? null };
      emit(context.output, { type: 'definition', ...facts });
      if (!context.output.json) printDefinition(manifest);
      return exitCodes.done;
    }
    const { copies } = only === undefined ? found : await findCopies(app, { name: snapshot });
    const job = await history.job(stored.manifest.job);
    const drill = (await history.drills()).find(
      (one) => one.snapshot === snapshot && one.store === store.name,
    );
    const storedBytes = await store.storedBytesOf(stored.manifest);
    const verified = await lastVerification(history, store.name, snapshot);
    if (context.output.json) {
      emit(context.output, {
        type: 'snapshot',
        store: store.name,
        directory: stored.directory,
        ...stored.manifest,
        storedBytes,
        ownership,
        job: job ?? null,
        verified,
        drill: drill ?? null,
        soundness,
        copies: copies.map((copy) => ({ store: copy.store.name, soundness: copy.soundness })),
      });
      return exitCodes.done;
    }
    const place = { store: store.name, directory: stored.directory, storedBytes, ownership };
    printManifest(stored.manifest, place, drill);
    printCopies(snapshot, copies);
    printVerification(verified);
    if (job) showJob(context, job);
    return exitCodes.done;
  });
}

/** What keeps a copy without a readable manifest from being shown. */
async function whyUnreadable(app: App, query: CopyQuery): Promise<unknown> {
  return await findCopy(app, query).catch((error: unknown) => error);
}

/** Where it lies, and what is to be done about a copy that is not sound. */
function printCopies(snapshot: string, copies: JudgedCopy[]): void {
  const lines = copies.map(({ store, soundness }) => [
    'copy',
    `in ${store.name}: ${soundness.type === 'sound' ? 'not known to be bad' : `NOT SOUND: ${soundness.why}`}`,
  ]);
  printLines(lines);
  const advice = adviceFor(
    snapshot,
    copies.map(({ store, soundness }) => ({ store: store.name, soundness })),
  );
  if (advice !== null) printLines([['', advice]]);
}

async function lastVerification(
  history: SqliteHistory,
  store: string,
  snapshot: string,
): Promise<VerificationRecord | null> {
  return (await history.verifications({ store, snapshot }))[0] ?? null;
}

async function jobNamed(history: SqliteHistory, job: string): Promise<JobWithDetails> {
  const found = await history.job(job);
  if (!found) throw new UmlsnapError('NoSuchJob', { job });
  return found;
}

function printManifest(
  manifest: Manifest,
  {
    store,
    directory,
    storedBytes,
    ownership,
  }: { store: string; directory: string; storedBytes: number | null; ownership: Ownership },
  drill: DrillRecord | undefined,
): void {
  const { snapshot, takenAt, kernel, consistency, dirtyKib, method, pausedMs, pinned, labels } = manifest;
  const lines = [
    ['snapshot', snapshot],
    ['store', `${store}, ${directory}`],
    ['stored', storedBytes === null ? 'shared with other snapshots' : formatBytes(storedBytes)],
    ['owner', ownerText(ownership, manifest)],
    ['taken', `${formatTime(takenAt)} (${takenAt})`],
    ['kernel', kernel],
    ['consistency', levelText(consistency, dirtyKib)],
    ['capture', `${method}, pause ${formatMs(pausedMs)}`],
    ['pinned', pinned ? 'yes' : 'no'],
    [
      'drilled',
      drill
        ? `${drill.passed ? 'passed' : 'failed'}, ${formatTime(drill.drilledAt)}, job ${drill.job}`
        : 'never',
    ],
    [
      'labels',
      Object.entries(labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(' ') || '-',
    ],
    ...manifest.disks.map((disk) => [
      disk.device,
      `${disk.file}, ${formatBytes(disk.sizeBytes)}, ${formatBytes(disk.storedBytes)} of data, sha256 ${disk.sha256.slice(0, 16)}…, from ${disk.sourcePath}` +
        (disk.backing ? `, backed by ${disk.backing.sourcePath}` : ''),
    ]),
  ];
  printLines(lines);
}

function ownerText(ownership: Ownership, { owner }: Manifest): string {
  switch (ownership.type) {
    case 'own':
      return `ours${owner ? `, of host ${owner.host}` : ''}`;
    case 'other':
      return `host ${ownership.host} (${ownership.id}): no rule of ours counts or removes it`;
    case 'unknown':
      return 'nobody known: no rule of ours counts or removes it (umlsnap adopt unknown)';
  }
}

function printLines(lines: (string | undefined)[][]): void {
  for (const [key, value] of lines) printLine(`${`${key}`.padEnd(12)} ${oneLine(`${value}`)}`);
}

/** What a checker of a filesystem said is shown where it found something. */
function printVerification(verified: VerificationRecord | null): void {
  if (verified === null) {
    printLines([['verified', 'never']]);
  } else {
    const { verifiedAt, job, problem, filesystems } = verified;
    const by = job === null ? '' : ` by job ${job}`;
    printLines([
      ['verified', `${formatTime(verifiedAt)}${by}: ${resultText(verified)}${problem ? `: ${problem}` : ''}`],
      ...filesystems.map((filesystem) => ['', describeFilesystem(filesystem)]),
    ]);
    for (const { verdict, output } of filesystems) {
      if (verdict === 'sound' || output === null) continue;
      printLines(output.split('\n').map((line) => ['', `| ${line}`]));
    }
  }
  printLine('');
}

function showJob(context: Context, job: JobWithDetails): void {
  if (context.output.json) {
    emit(context.output, { type: 'job', ...job });
    return;
  }
  const { status, guest, kind, startedAt, error } = job;
  printLine(`job ${job.job}: ${kind} of ${guest ?? '-'}, ${formatTime(startedAt)}, ${status}`);
  if (error) printLine(`${whatFailedWhere(error)}: ${error.message}`);
  for (const warning of job.warnings) printLine(`warning: ${warning}`);
  printRows(context.output, job.phases, {
    phase: (phase) => phase.phase,
    started: (phase) => phase.startedAt.slice(11, 23),
    took: (phase) => formatMs(phase.durationMs),
    outcome: (phase) => phase.outcome,
    figures: (phase) => formatFigures(phase.facts),
  });
  printLog(job.log);
  // Of a drill: what its guest said at the end.
  const console = job.summary?.console;
  if (!Array.isArray(console)) return;
  for (const line of console) printLine(`| ${line}`);
}

function printLog(log: JobLogLine[]): void {
  if (log.length > 0) printLine('');
  for (const { at, level, text } of log) printLine(`${at.slice(11, 23)}  ${level.padEnd(5)}  ${text}`);
}
