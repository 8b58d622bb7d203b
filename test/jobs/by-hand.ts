import { adopt, findAdoptable } from '../../jobs/adopt.js';
import { remove } from '../../jobs/remove.js';
import { verify } from '../../jobs/verify.js';
import { withHouse } from '../../src/compose.js';
import { loadConfig } from '../../src/config/load-config.js';
import { UmlsnapError } from '../../src/errors.js';
import { theirs } from '../store/capture-of-tests.js';

export const [older, newer, foreign] = [
  'web@20261120T000000Z',
  'web@20261121T000000Z',
  'web@20261122T000000Z',
] as const;

/** What people do to copies, one after the other: heals what is damaged, adopts what is another's, and removes `older`. */
export async function doAllByHand(configFile: string): Promise<void> {
  const { signal } = new AbortController();
  await withHouse(await loadConfig(configFile), async (house) => {
    await verify({ of: 'guest', guest: 'web' }, house, { signal, heals: house });
    try {
      const wish = { of: theirs.host };
      await adopt(wish, await findAdoptable(wish, house), house, () => undefined);
    } catch (error) {
      if (!isDone(error)) throw error;
    }
    try {
      await remove(house, { name: older, force: false });
    } catch (error) {
      if (!isDone(error)) throw error;
    }
  });
}

const isDone = (error: unknown) =>
  error instanceof UmlsnapError && ['NothingToAdopt', 'NoSuchSnapshot'].includes(error.code);
