import { parseArgs } from 'node:util';
import { wholeNumber } from '../bench/options.js';

/** What `npm run campaign -- …` is asked for; by default all of it, from where it was left. */
export type CampaignOptions = ReturnType<typeof parseOptions>;

export const usage = `npm run campaign -- [NAME …] [options]
  --list                       what there is, how many trials each has, and how many of them are done
  --n 50                       so many trials, in place of the campaign's own number
  --seed 7                     of what is decided at random, for campaigns that begin now
  --fresh                      begins anew: what these campaigns have done so far is forgotten
  --out docs/reliability.md    where the report is written
Ctrl-C ends it after the trial that is under way; the next call goes on from there.`;

/** Reads the command line. @throws Error with what is wrong in it */
export function parseOptions(args: string[], known: readonly string[]) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      list: { type: 'boolean', default: false },
      fresh: { type: 'boolean', default: false },
      n: { type: 'string' },
      seed: { type: 'string' },
      out: { type: 'string', default: 'docs/reliability.md' },
    },
  });
  // `power-cut` stands for each campaign whose name begins so.
  const isMeant = (name: string, word: string) => name === word || name.startsWith(`${word}-`);
  const stranger = positionals.find((word) => !known.some((name) => isMeant(name, word)));
  if (stranger !== undefined) throw new Error(`${stranger}: choose from ${known.join(', ')}`);
  return {
    ...{ list: values.list, fresh: values.fresh, out: values.out },
    /** In the order of the list. */
    names: known.filter(
      (name) => positionals.length === 0 || positionals.some((word) => isMeant(name, word)),
    ),
    n: values.n === undefined ? null : wholeNumber('--n', values.n, 1),
    seed: values.seed === undefined ? null : wholeNumber('--seed', values.seed, 0),
  };
}
