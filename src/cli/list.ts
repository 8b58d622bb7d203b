import { allStores, waitsFor } from '../compose.js';
import { noteDamage } from '../copies/find-copy.js';
import { explainError } from '../error-text.js';
import { isHistoryFailure, UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { type Ownership, ownershipRecorded, type VerificationRecord } from '../history/records.js';
import type { SqliteHistory } from '../history/sqlite-history.js';
import { requireKnownGuest } from '../job/known-guest.js';
import { printLine, printRows, warn } from '../output.js';
import { type OwnershipHistory, ownershipIn, withoutHistory } from '../snapshot/ownership.js';
import { withStartedHistoryIfAny } from '../start.js';
import { sizesOf } from '../store/manifest.js';
import { adviceFor, findingsIn, type Soundness, unsoundWord } from '../store/soundness.js';
import type { Store } from '../store/store.js';
import type { StoredSnapshot } from '../store/stored-snapshots.js';
import { type Context, configOf } from './context.js';
import { formatBytes, formatMs, formatTime } from './format.js';
import { resultText } from './verification.js';

/** A line of `umlsnap list`: a snapshot as it lies in its store now. */
interface ListedRow {
  snapshot: string;
  store: string;
  guest: string;
  /** Whose it is: only our own are counted, and removed by rule. */
  ownership: Ownership;
  /** `damaged`: by its store, or by its last verification. `waiting`: it waits to be carried into this store. */
  state: 'sound' | 'waiting' | 'damaged' | 'unreachable';
  /** Whether it is to be relied on, with what is known beside that. */
  soundness: Soundness;
  /** The store that has it now: where it waits, the staging of its store. */
  liesIn: string;
  /** That took it; null: not known. */
  job: string | null;
  takenAt: string | null;
  consistency: string | null;
  dirtyKib: number | null;
  method: string | null;
  pausedMs: number | null;
  sizeBytes: number | null;
  /** null: not known, or shared with other snapshots, as in a repository of restic's. */
  storedBytes: number | null;
  pinned: boolean | null;
  labels: Record<string, string>;
  /** Its last drill, if it has had one: null as well where the history can't be read. */
  drilledAt: string | null;
  drill: 'passed' | 'failed' | null;
  problem: string | null;
  /** Its last verification; null: never, or the history can't be used. */
  verified: VerificationRecord | null;
}

/** `umlsnap list [GUEST]`: asks the stores, which are the truth; of a store that is away, what the history knows. Also of guests that the config no longer has. */
export async function listVerb(context: Context, guest: string | undefined): Promise<ExitCode> {
  const config = await configOf(context);
  return await withStartedHistoryIfAny(config, async (history) => {
    if (history instanceof UmlsnapError) warn(`warning: ${explainError(history)}`);
    let rows: ListedRow[] = [];
    let problems = history instanceof UmlsnapError ? 1 : 0;
    for (const store of allStores(config)) {
      const asked = history instanceof UmlsnapError ? null : history;
      const listed = await listStore(store, asked, guest, withoutHistory(config.state));
      rows.push(...listed.rows);
      if (listed.problem === null) continue;
      warn(`warning: ${listed.problem}`);
      problems += 1;
    }
    // Each store was asked for it.
    if (guest !== undefined && rows.length === 0 && problems === 0)
      await requireKnownGuest(guest, { config, history, stores: [] });
    rows = withoutCarried(rows);
    await addDrills(rows, history);
    rows.sort((a, b) => (a.snapshot < b.snapshot ? -1 : 1));
    if (!(history instanceof UmlsnapError)) problems += await addVerifications(rows, history);
    const findings = await findingsIn(history, guest === undefined ? {} : { guest });
    for (const row of rows) {
      const isDrilled = config.guests[row.guest]?.isDrilled ?? false;
      const listed = row.problem === null ? row : { ...row, damaged: row.problem };
      row.soundness = findings.soundnessOf(row.liesIn, listed, isDrilled);
      if (row.soundness.type === 'damaged' && row.state !== 'unreachable') row.state = 'damaged';
    }
    print(context, rows);
    const unsound = rows.filter(
      ({ soundness, ownership }) => ownership.type === 'own' && soundness.type !== 'sound',
    );
    for (const row of unsound) {
      warnOf(row, rows);
      const { snapshot, liesIn, soundness } = row;
      // What its store alone tells, pages and metrics would not know until the next backup.
      if (soundness.type === 'damaged' && soundness.since === null && row.state !== 'unreachable')
        await noteDamage(history, { snapshot, store: liesIn, problem: soundness.why });
    }
    return problems > 0 || unsound.length > 0 ? exitCodes.warnings : exitCodes.done;
  });
}

/** What is wrong with a copy, and what is to be done. */
function warnOf({ snapshot, store, soundness }: ListedRow, rows: readonly ListedRow[]): void {
  if (soundness.type === 'sound') return;
  const copies = rows.filter((row) => row.snapshot === snapshot);
  const what = `${snapshot} in store ${store} is not sound: ${soundness.why}`;
  warn(`warning: ${what}. ${adviceFor(snapshot, copies) ?? ''}`);
}

/** @returns how many problems there were: the list is of use without them */
async function addVerifications(rows: ListedRow[], history: SqliteHistory): Promise<number> {
  try {
    const verifications = await history.verifications({});
    const byName = new Map(verifications.map((one) => [`${one.store} ${one.snapshot}`, one]));
    for (const row of rows) row.verified = byName.get(`${row.liesIn} ${row.snapshot}`) ?? null;
    return 0;
  } catch (error) {
    if (!isHistoryFailure(error)) throw error;
    warn(`warning: ${explainError(error)}`);
    return 1;
  }
}

async function listStore(
  store: Store,
  history: SqliteHistory | null,
  guest: string | undefined,
  otherwise: OwnershipHistory,
): Promise<{ rows: ListedRow[]; problem: string | null }> {
  try {
    const known = (await history?.storeId(store.name)) ?? null;
    if (!(await store.isMounted(known))) return { rows: [], problem: null };
    const listed = await store.list(guest);
    const ownership = await ownershipIn(store.name, listed, history ?? otherwise);
    const rows: ListedRow[] = [];
    for (const stored of listed) rows.push(await rowOf(store, stored, ownership(stored)));
    return { rows, problem: null };
  } catch (error) {
    if (history !== null && isHistoryFailure(error)) {
      return { rows: (await listStore(store, null, guest, otherwise)).rows, problem: explainError(error) };
    }
    const remembered =
      (await history?.snapshots({ store: store.name, ...(guest !== undefined && { guest }) })) ?? [];
    const rows = remembered.map(
      ({ own, owner, ...record }): ListedRow => ({
        ...record,
        storedBytes: store.type === 'restic' ? null : record.storedBytes,
        ownership: ownershipRecorded({ own, owner }),
        store: waitsFor(store) ?? store.name,
        liesIn: store.name,
        ...{ state: 'unreachable', problem: null, verified: null, ...sound, ...notDrilled },
      }),
    );
    return { rows, problem: explainError(error) };
  }
}

const notDrilled = { drilledAt: null, drill: null };
const sound = { soundness: { type: 'sound' as const } };

/** Of a history that can't be read has been told already. */
async function addDrills(rows: ListedRow[], history: SqliteHistory | UmlsnapError): Promise<void> {
  if (history instanceof UmlsnapError) return;
  try {
    const drills = new Map(
      (await history.drills()).map((drill) => [`${drill.store} ${drill.snapshot}`, drill]),
    );
    for (const row of rows) {
      const drill = drills.get(`${row.liesIn} ${row.snapshot}`);
      if (drill)
        Object.assign(row, { drilledAt: drill.drilledAt, drill: drill.passed ? 'passed' : 'failed' });
    }
  } catch (error) {
    if (!isHistoryFailure(error)) throw error;
  }
}

/** One that is in its archive already is about to leave staging, and waits no more. */
function withoutCarried(rows: ListedRow[]): ListedRow[] {
  const archived = new Set(
    rows
      .filter(({ state, ownership }) => state !== 'waiting' && ownership.type === 'own')
      .map(({ store, snapshot }) => `${store} ${snapshot}`),
  );
  return rows.filter(
    ({ state, store, snapshot }) => state !== 'waiting' || !archived.has(`${store} ${snapshot}`),
  );
}

async function rowOf(from: Store, stored: StoredSnapshot, ownership: Ownership): Promise<ListedRow> {
  const { snapshot, guest } = stored;
  const archive = waitsFor(from);
  const store = archive ?? from.name;
  if (!('manifest' in stored)) {
    const unknown = {
      job: null,
      takenAt: null,
      consistency: null,
      dirtyKib: null,
      method: null,
      pausedMs: null,
    };
    const sizes = { sizeBytes: null, storedBytes: null, pinned: null, labels: {} };
    return {
      snapshot,
      store,
      liesIn: from.name,
      guest,
      ownership,
      state: 'damaged',
      ...sound,
      ...unknown,
      ...sizes,
      ...notDrilled,
      problem: stored.damaged,
      verified: null,
    };
  }
  const { job, takenAt, consistency, dirtyKib, method, pausedMs, pinned, labels } = stored.manifest;
  return {
    ...{ snapshot, store, liesIn: from.name, guest, ownership },
    state: archive === undefined ? 'sound' : 'waiting',
    ...sound,
    ...{ job, takenAt, consistency, dirtyKib, method, pausedMs, pinned, labels },
    sizeBytes: sizesOf(stored.manifest).sizeBytes,
    storedBytes: await from.storedBytesOf(stored.manifest),
    ...notDrilled,
    ...{ problem: null, verified: null },
  };
}

/** What is not sound is called that, and nothing else of it matters as much. */
function consistencyText({ soundness, state, consistency }: ListedRow): string {
  if (soundness.type !== 'sound') return unsoundWord[soundness.type].toUpperCase();
  return state === 'sound' ? (consistency ?? '-') : state;
}

/** Empty: ours. */
function ownerText({ ownership }: ListedRow): string {
  if (ownership.type === 'own') return '';
  return ownership.type === 'other' ? `host ${ownership.host}` : 'nobody known';
}

function print(context: Context, rows: ListedRow[]): void {
  if (rows.length === 0 && !context.output.json) {
    printLine('No snapshots.');
    return;
  }
  printRows(context.output, rows, {
    snapshot: (row) => row.snapshot,
    store: (row) => row.store,
    ...(rows.some(({ ownership }) => ownership.type !== 'own') && { owner: ownerText }),
    'taken (local time)': (row) => formatTime(row.takenAt),
    consistency: (row) => consistencyText(row),
    method: (row) => row.method ?? '-',
    pause: (row) => formatMs(row.pausedMs),
    size: (row) => formatBytes(row.sizeBytes),
    stored: (row) => formatBytes(row.storedBytes),
    pinned: (row) => (row.pinned ? 'yes' : ''),
    verified: (row) => formatTime(row.verified?.verifiedAt),
    result: (row) => resultText(row.verified),
    drill: (row) => (row.drill === null ? '' : `${row.drill} ${formatTime(row.drilledAt).slice(0, 10)}`),
  });
}
