import type { BackupProgress } from '../../jobs/backup-progress.js';
import type { VerifyProgress } from '../../jobs/verify-tally.js';
import { formatBytes } from './format.js';
import { emit, type Output } from './output.js';

/** Shows how far a job is, whoever does it: its phases, and how much is copied or read. */
export function showProgress(output: Output, progress: BackupProgress | VerifyProgress): void {
  emit(output, progress);
  if (!process.stderr.isTTY || output.json || output.quiet) return;
  const { guest, phase, doneBytes, totalBytes } = progress;
  if (doneBytes === undefined || totalBytes === undefined) {
    process.stderr.write(`${guest}: ${phase}\n`);
    return;
  }
  const percent = totalBytes === 0 ? 100 : Math.min(100, Math.floor((doneBytes * 100) / totalBytes));
  const done = `${percent}% (${formatBytes(doneBytes)} of ${formatBytes(totalBytes)})`;
  // Over the line before: a terminal is no log.
  process.stderr.write(`\x1b[1A\x1b[2K${guest}: ${phase} ${done}\n`);
}
