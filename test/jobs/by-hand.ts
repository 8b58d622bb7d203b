import { adopt, findAdoptable } from '../../jobs/adopt.js';
import { remove } from '../../jobs/remove.js';
import { verify } from '../../jobs/verify.js';
import { withApp } from '../../src/compose.js';
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
  await withApp(await loadConfig(configFile), async (app) => {
    await verify({ of: 'guest', guest: 'web' }, app, { signal, heals: app });
    try {
      const request = { of: theirs.host };
      await adopt(request, await findAdoptable(request, app), app, () => undefined);
    } catch (error) {
      if (!isDone(error)) throw error;
    }
    try {
      await remove(app, { name: older, force: false });
    } catch (error) {
      if (!isDone(error)) throw error;
    }
  });
}

const isDone = (error: unknown) =>
  error instanceof UmlsnapError && ['NothingToAdopt', 'NoSuchSnapshot'].includes(error.code);
