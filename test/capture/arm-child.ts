import { open } from 'node:fs/promises';
import { armCopy } from '../../src/capture/arm-capture.js';
import { armPrecopy } from '../../src/capture/precopy/arm-precopy.js';

/** Arms the capture of a disk, a precopy where it is told a rate, says so, and lives until it is killed. */
const { sourcePath, sizeBytes, targetPath, bytesPerSecond } = JSON.parse(process.argv[2] ?? '{}');
const { fd } = await open(sourcePath);
const disks = [{ device: 'ubd0', sourceFd: fd, sourcePath: '', sizeBytes, targetPath }];
const say = () => console.log('at work');
setInterval(() => {}, 1000);
if (bytesPerSecond === undefined) {
  await armCopy('debian', disks);
  say();
} else {
  const pause = { pauseTargetMs: 5, budgetMs: 1000, signal: new AbortController().signal };
  const tracking = { by: 'comparing' } as const;
  await armPrecopy({ guest: 'debian', disks, tracking, bytesPerSecond, ...pause, onProgress: say });
}
