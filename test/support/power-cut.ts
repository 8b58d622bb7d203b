import { constants, copyFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterOurDeath } from './death-watch.js';
import { withLoopFilesystem } from './loop-filesystem.js';
import { runTool } from './run-tool.js';

/**
 * Power cuts, many of one run: a filesystem lies in an image on a reflink XFS, somebody works on it, and the image is cloned
 * while they do. What that filesystem had not sent to its disk by then is not in the clone, as after a cut; mounted, the clone
 * replays its journal.
 */
export interface PowerStage {
  /** Where the work is to be done. */
  readonly mountPoint: string;
  /** Cuts the power now, within this call: what comes after it in our process came after the cut. */
  cut(): Cut;
}

export interface Cut {
  /** Runs `use` on what the cut has left, with the journal replayed; the cut is gone afterwards. */
  withMounted<T>(use: (mountPoint: string) => Promise<T>): Promise<T>;
}

const kinds = {
  ext4: { sizeMiB: 64, mkfs: ['-q', '-F'], mountOptions: 'loop' },
  // A clone has the UUID of what it is a clone of.
  xfs: { sizeMiB: 300, mkfs: ['-q'], mountOptions: 'loop,nouuid' },
};
type Kind = keyof typeof kinds;

export async function withPowerStage<T>(type: Kind, use: (stage: PowerStage) => Promise<T>): Promise<T> {
  const { sizeMiB, mkfs } = kinds[type];
  return await withLoopFilesystem({ type: 'xfs', sizeMiB: 4096, inMemory: true }, async (outer) => {
    const image = join(outer, 'inner.img');
    const watch = afterOurDeath('for mounted in "$1"/*/; do umount -l "$mounted"; done', [outer]);
    await runTool('truncate', ['-s', `${sizeMiB}M`, image]);
    await runTool(`mkfs.${type}`, [...mkfs, image]);
    const stage = withMount(type, image, join(outer, 'inner'), (mountPoint) => {
      let cuts = 0;
      const cut = (): Cut => {
        const at = join(outer, `cut-${cuts++}`);
        copyFileSync(image, `${at}.img`, constants.COPYFILE_FICLONE_FORCE);
        return {
          withMounted: async (look) => {
            const looked = await withMount(type, `${at}.img`, at, look);
            await rm(`${at}.img`);
            return looked;
          },
        };
      };
      return use({ mountPoint, cut });
    });
    return await stage.finally(() => watch.cancel());
  });
}

async function withMount<T>(
  type: Kind,
  image: string,
  mountPoint: string,
  use: (mountPoint: string) => Promise<T>,
): Promise<T> {
  await mkdir(mountPoint);
  await runTool('mount', ['-o', kinds[type].mountOptions, '-t', type, image, mountPoint]);
  try {
    return await use(mountPoint);
  } finally {
    await runTool('umount', [mountPoint]).catch(() => runTool('umount', ['-l', mountPoint]));
    await rm(mountPoint, { recursive: true });
  }
}
