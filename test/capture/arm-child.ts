import { open } from 'node:fs/promises';
import { CaptureProcess } from '../../src/pause/capture-process.js';

/** Arms the capture of a disk, a precopy where it is told a rate, says so, and lives until it is killed. */
const { sourcePath, sizeBytes, targetPath, bytesPerSecond = null } = JSON.parse(process.argv[2] ?? '{}');
const { fd } = await open(sourcePath);
const disks = [{ device: 'ubd0', sourceFd: fd, sizeBytes, targetPath }];
const say = () => console.log('at work');
setInterval(() => {}, 1000);
await CaptureProcess.arm({
  ...{ guest: 'debian', disks, method: bytesPerSecond === null ? 'copy' : 'precopy', tracing: null },
  ...{ bytesPerSecond, pauseTargetMs: 5, budgetMs: 1000, signal: new AbortController().signal },
  onProgress: say,
});
say();
