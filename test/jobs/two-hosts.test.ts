import { expect, test } from 'vitest';
import { randomOf } from '../campaign/campaign.js';
import { withTempDir } from '../support/temp-dir.js';
import { type Kind, TwoHosts } from './two-hosts.js';

/** `npm run campaign -- two-hosts` does more of it, restic too. */

const seed = Number(process.env.TWO_HOSTS_SEED ?? 3);
const operations: Record<Kind, number> = { directory: 28, tar: 28, restic: 4 };

for (const [kind, count] of Object.entries(operations) as [Kind, number][]) {
  test(`two hosts with one guest name in one ${kind} never lose, remove or take over what is the other’s (seed ${seed})`, async () => {
    await withTempDir(async (dir) => {
      const hosts = await TwoHosts.set(kind, dir, randomOf(seed, count));
      try {
        for (let number = 0; number < count; number++) await hosts.step();
        if (kind !== 'restic')
          expect(hosts.done).toMatchObject({ backUp: expect.anything(), renamed: expect.anything() });
      } finally {
        hosts.close();
      }
    });
  });
}
