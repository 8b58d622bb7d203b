import { parseArgs } from 'node:util';

/** What `npm run campaign -- …` is asked for; by default all of it, from where it was left. */
export interface CampaignOptions {
  /** In the order of the list. */
  names: string[];
  list: boolean;
  fresh: boolean;
  /** In place of each campaign's own N. */
  n: number | null;
  /** Of campaigns that begin now; null: anyone. */
  seed: number | null;
  /** Where the report is written. */
  out: string;
}

export const usage = `npm run campaign -- [NAME …] [options]
  --list                       what there is, how many trials each has, and how many of them are done
  --n 50                       so many trials, in place of the campaign's own number
  --seed 7                     of what is decided at random, for campaigns that begin now
  --fresh                      begins anew: what these campaigns have done so far is forgotten
  --out docs/reliability.md    where the report is written
Ctrl-C ends it after the trial that is under way; the next call goes on from there.`;

/** Reads the command line. @throws Error with what is wrong in it */
export function parseOptions(args: string[], known: readonly string[]): CampaignOptions {
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
    names: known.filter(
      (name) => positionals.length === 0 || positionals.some((word) => isMeant(name, word)),
    ),
    n: wholeNumber('--n', values.n, 1),
    seed: wholeNumber('--seed', values.seed, 0),
  };
}

function wholeNumber(option: string, text: string | undefined, least: number): number | null {
  if (text === undefined) return null;
  if (/^\d{1,9}$/.test(text) && Number(text) >= least) return Number(text);
  throw new Error(`${option} ${text}: write a whole number, ${least} or more`);
}
