import type { BackupProgress } from '../../jobs/backup-progress.js';
import { formatBytes } from './format.js';
import { emit, type Output } from './output.js';

/** Shows how far a snapshot is, whoever takes it: its phases, and in precopy how much is copied. */
export function showProgress(output: Output, progress: BackupProgress): void {
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
