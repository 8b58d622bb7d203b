import { type Kind, TwoHosts } from '../jobs/two-hosts.js';
import { withTempDir } from '../support/temp-dir.js';
import { type Campaign, problemsOf, type Wanted } from './campaign.js';

const kinds: Kind[] = ['directory', 'tar', 'restic'];
const perRun = 20;

async function* trials({ from, count, random, signal }: Wanted) {
  for (let number = from; number < from + count && !signal.aborted; number++) {
    const kind = kinds[number % kinds.length] ?? 'directory';
    const problems = await problemsOf(() =>
      withTempDir(async (dir) => {
        const hosts = await TwoHosts.set(kind, dir, random(number));
        try {
          for (let done = 0; done < perRun; done++) await hosts.step();
          return [];
        } finally {
          hosts.close();
        }
      }),
    );
    yield { count: 1, problems, facts: { [`operations on ${kind}`]: perRun } };
  }
}

export const twoHosts: Campaign = {
  name: 'two-hosts',
  hazard:
    'two hosts with one guest name back up, prune, pin, recover and adopt in one place, in the same second often',
  held: 'no snapshot of the other’s is removed, lost, or taken for one’s own',
  ...{ n: 30, unit: 'runs of 20 operations', isSeeded: true, trials },
};
