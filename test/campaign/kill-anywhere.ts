import { loadConfig } from '../../src/config/load-config.js';
import { recoverFromDeath } from '../../src/start.js';
import { isSound } from '../../src/store/stored-snapshots.js';
import { expectRuns, Scene, type SceneOptions } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';
import { type Campaign, oneOf, problemsOf, type Random, type Trial, type Wanted } from './campaign.js';
import {
  isInPause,
  killAtRandom,
  measureMethods,
  methods,
  type TimesOfMethods,
  victims,
} from './kill-instant.js';

/** By kill -9 of a part of a snapshot, or of all of it: the guest runs again, and nothing half-made passes for a snapshot. */

/** Trials on one guest, store and history; after that, and after one that has lost something, all of it is made anew. */
const trialsOfScene = 50;

/** A disk that takes milliseconds to copy, and a guest that takes little memory. */
const setting: SceneOptions = {
  ...{ on: 'xfs' as const, sizeMiB: 2048, proxied: true },
  guest: { sizeMiB: 32, fillMiB: 8, memMiB: 64, writer: 'lines' },
};

async function* trials({ from, count, random }: Wanted) {
  for (let number = from; number < from + count; ) {
    const scene = new Scene(setting);
    try {
      await scene.build();
      const times = await measureMethods(scene);
      const end = Math.min(from + count, number + trialsOfScene);
      for (let isWell = true; isWell && number < end; number++) {
        const facts: Trial['facts'] = {};
        const problems = await problemsOf(() => killOnce(scene, times, random(number), facts));
        yield { count: 1, problems, facts };
        isWell = problems.length === 0;
      }
    } finally {
      await scene.remove();
    }
  }
}

async function killOnce(scene: Scene, times: TimesOfMethods, random: Random, facts: Trial['facts']) {
  const victim = oneOf(random, victims);
  const method = oneOf(random, methods);
  const before = (await scene.snapshots()).length;
  const kill = await killAtRandom(scene, times[method], { victim, random });
  Object.assign(facts, { [`of ${victim}`]: 1, [`by ${method}`]: 1 });
  await waitFor('processes of umlsnap to end', () => scene.processes().length === 0);
  if (isInPause(await scene.proxy.events(), kill)) facts['inside a pause'] = 1;
  // Whoever is left has resumed it. When nobody is, the next command does it, whichever that is.
  if (victim !== 'all of them') await expectRuns(scene.guest);
  for (const stored of await scene.listed()) {
    if (!isSound(stored)) throw new Error(`${stored.snapshot} is listed, and damaged: ${stored.damaged}`);
  }
  await recoverFromDeath(await loadConfig(scene.config));
  await scene.expectWell();
  if ((await scene.snapshots()).length > before) facts['that left a whole snapshot'] = 1;
  return [];
}

export const killAnywhere: Campaign = {
  name: 'kill-anywhere',
  hazard: 'kill -9 of a part of a snapshot, or of all of it, at a random instant',
  held: 'the guest runs, nothing is left after the next command, nothing half-made is listed, and every snapshot is whole',
  ...{ n: 1000, unit: 'kills', isSeeded: true, trials },
};
