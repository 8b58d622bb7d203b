import { constants, readFileSync } from 'node:fs';
import { copyFile, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type LoopFilesystem, whyNoLoopMount, withLoopFilesystem } from './loop-filesystem.js';
import { runTool } from './run-tool.js';
import { waitFor } from './wait-for.js';

const reason = whyNoLoopMount('xfs');
const title = 'an XFS on a loop has reflinks, and is gone with its loop device though a file is open';

test(reason ? `${title} (skipped: ${reason})` : title, { skip: reason !== undefined }, async () => {
  const mounts = () => readFileSync('/proc/self/mounts', 'utf8');
  const use = async (mountPoint: string, { image }: LoopFilesystem) => {
    await writeFile(join(mountPoint, 'a'), 'shared');
    await copyFile(join(mountPoint, 'a'), join(mountPoint, 'b'), constants.COPYFILE_FICLONE_FORCE);
    expect(mounts()).toContain(mountPoint);
    return { mountPoint, image, file: await open(join(mountPoint, 'a')) };
  };
  const { mountPoint, image, file } = await withLoopFilesystem({ type: 'xfs', sizeMiB: 300 }, use);
  expect(mounts()).not.toContain(mountPoint);
  await file.close();
  await waitFor('no loop device', async () => !(await runTool('losetup', ['-a'])).includes(image));
});
