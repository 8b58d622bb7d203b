import type { FilesystemVerdict } from '../../history/records.js';
import type { CheckerEnd } from './checker-process.js';
import type { ExtState, Filesystem } from './superblock.js';

/**
 * What the right checker says of a filesystem in a private copy. It is never mounted: what only a mount could find out stays
 * unproven, and is called so.
 */
export interface Finding {
  verdict: FilesystemVerdict;
  reason: string | null;
  output: string | null;
}

export type Check = (
  argv: readonly [string, ...string[]],
  more?: { setsOwnFileLimit: boolean },
) => Promise<CheckerEnd>;

/** @param image as the checker's own working directory has it; it may be written to */
export async function checkFilesystem(
  filesystem: Filesystem,
  diskBytes: number,
  image: string,
  check: Check,
): Promise<Finding> {
  const { type, sizeBytes, ext } = filesystem;
  if (sizeBytes !== null && sizeBytes > BigInt(diskBytes)) {
    const reason = `it says that it has ${sizeBytes} bytes, and its disk has ${diskBytes}`;
    return { verdict: 'bad', reason, output: null };
  }
  if (ext) return await checkExt(ext, image, check);
  return type === 'xfs' ? await checkXfs(image, check) : await checkBtrfs(image, check);
}

/**
 * The journal is replayed and files that were deleted while open are removed, as a mount does: without them, a disk that was
 * merely in use would look damaged. `-E journal_only` MUST come without `-f` and `-y`, which have e2fsck repair everything first, so
 * that the check after it finds nothing (seen with 1.47.0).
 */
async function checkExt(state: ExtState, image: string, check: Check): Promise<Finding> {
  if (!state.hasErrors && (state.needsRecovery || state.hasOrphans)) {
    const replayed = await check(['e2fsck', '-p', '-E', 'journal_only', image]);
    if (replayed.ended === 'otherwise') return notChecked(replayed);
    // 1: it has replayed something. 4: something else is wrong as well, which the check will find.
    if (![0, 1, 4].includes(replayed.exitCode))
      return badIf(aboutExt, replayed, 'its journal can not be replayed');
  }
  const checked = await check(['e2fsck', '-fn', image]);
  if (checked.ended === 'otherwise') return notChecked(checked);
  if (state.hasErrors)
    return bad(checked.output, "the guest's kernel has met errors in it, and has marked it");
  if (checked.exitCode === 0) return sound(checked.output);
  if (!state.hasJournal && !state.isClean) {
    const reason = 'it has no journal and was in use: as after a power cut, it needs an fsck';
    return { verdict: 'unproven', reason, output: checked.output };
  }
  return badIf(aboutExt, checked, `e2fsck finds errors: ${complaintsOf(checked.output)}`);
}

/**
 * A log that is not replayed makes for inconsistencies that are none, and only a mount replays it; `xfs_repair -L` would throw it
 * away. So with such a log, which every disk in use has, a check without complaint says that all is well, and one with
 * complaints says nothing: booting the snapshot does.
 */
async function checkXfs(image: string, check: Check): Promise<Finding> {
  const checked = await check(['xfs_repair', '-n', '-P', image], { setsOwnFileLimit: true });
  if (checked.ended === 'otherwise') return notChecked(checked);
  if (checked.exitCode === 0) return sound(checked.output);
  const isHeadless = /primary superblock|no_modify mode|not a valid/i.test(checked.output);
  if (!isHeadless && /metadata changes in a log/.test(checked.output)) {
    const reason = 'its log is not replayed, as after a power cut, and only a mount replays it';
    return { verdict: 'unproven', reason, output: checked.output };
  }
  return badIf(aboutXfs, checked, `xfs_repair finds errors: ${complaintsOf(checked.output)}`);
}

/** `--force`: to know that nobody has the copy mounted would take rights that the checker does not have. */
async function checkBtrfs(image: string, check: Check): Promise<Finding> {
  const checked = await check(['btrfs', 'check', '--readonly', '--force', image]);
  if (checked.ended === 'otherwise') return notChecked(checked);
  if (checked.exitCode === 0) return sound(checked.output);
  if (/device .*missing|missing device|devid \d+ .*missing/i.test(checked.output)) {
    const reason = 'it lies on several disks, which can not be checked one by one';
    return { verdict: 'notChecked', reason, output: checked.output };
  }
  return badIf(aboutBtrfs, checked, `btrfs check finds errors: ${complaintsOf(checked.output)}`);
}

const sound = (output: string): Finding => ({ verdict: 'sound', reason: null, output });
const bad = (output: string, reason: string): Finding => ({ verdict: 'bad', reason, output });

function notChecked({ reason, output }: Extract<CheckerEnd, { ended: 'otherwise' }>): Finding {
  return { verdict: 'notChecked', reason, output: output === '' ? null : output };
}

/** What only a checker says that has begun to look at a filesystem, or at what should be its superblock. */
type About = (checked: { exitCode: number; output: string }) => boolean;
const aboutExt: About = ({ exitCode, output }) =>
  (exitCode & 4) !== 0 || /superblock|super-block|corrupt/i.test(output);
const aboutXfs: About = ({ output }) => /^Phase \d|superblock/m.test(output);
const aboutBtrfs: About = ({ output }) =>
  /^\[\d\/\d\]|superblock|No valid Btrfs|tree block|transid|corrupt/m.test(output);

const refusals =
  /.*(?:unsupported (?:read-only )?feature|newer version of|not enough memory|cannot allocate|memory allocation failed|couldn't malloc|permission denied|operation not permitted).*/i;

/** A filesystem MUST NOT be called bad because its checker could not work: that says nothing of it. */
function badIf(isAbout: About, checked: { exitCode: number; output: string }, reason: string): Finding {
  const { exitCode, output } = checked;
  const [refusal] = refusals.exec(output) ?? [];
  if (refusal === undefined && isAbout(checked)) return bad(output, reason);
  const why = refusal?.trim() ?? `it exited ${exitCode}: ${complaintsOf(output)}`;
  return { verdict: 'notChecked', reason: `its checker gave up: ${why}`, output };
}

const notComplaints =
  /^(?:Pass \d|Phase \d|\[\d\/\d\]|\s+- |e2fsck \d|Fix\? no|No modify flag|Cannot get host|Repair may fail|the image and|Opening filesystem|Checking filesystem|UUID:|.*FILE SYSTEM|.*WARNING: Filesystem still)/;

/** The first of what a checker says that is more than how far it has come. */
function complaintsOf(output: string): string {
  const lines = output.split('\n').filter((line) => line.trim() !== '' && !notComplaints.test(line));
  return lines.length === 0
    ? 'it does not say which'
    : lines
        .slice(0, 3)
        .map((line) => line.trim())
        .join('; ');
}
