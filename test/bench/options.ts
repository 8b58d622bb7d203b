import { parseArgs } from 'node:util';
import { methodNames } from './methods.js';

/** What `npm run bench -- …` measures; by default all that the project claims. */
export type BenchOptions = ReturnType<typeof parseOptions>;
export type BenchFilesystem = 'ext4' | 'xfs';

const usage = `npm run bench -- [options]
  --sizes 256,1024,4096        sizes of the image, in MiB
  --runs 10                    of each method, for each size and filesystem
  --filesystems ext4,xfs
  --methods ${methodNames.join(',')}
  --cache cold                 cold: the page cache is emptied before each run (needs root); warm: it is not
  --out docs                   where benchmarks.md is written`;

/** The guest's system and the file that its load writes have to fit in. */
const smallestMiB = 160;

/** Reads the command line. @throws Error with what is wrong in it, and how it is asked for */
export function parseOptions(args: string[], { isRoot }: { isRoot: boolean }) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        sizes: { type: 'string', default: '256,1024,4096' },
        runs: { type: 'string', default: '10' },
        filesystems: { type: 'string', default: 'ext4,xfs' },
        methods: { type: 'string', default: methodNames.join(',') },
        cache: { type: 'string', default: isRoot ? 'cold' : 'warm' },
        out: { type: 'string', default: 'docs' },
      },
    });
    const [cache = 'warm'] = namesOf('--cache', values.cache, ['cold', 'warm'] as const);
    if (cache === 'cold' && !isRoot) throw new Error('--cache cold: only root may empty the page cache');
    return {
      sizesMiB: values.sizes
        .split(',')
        .map((text) => wholeNumber('--sizes', text, smallestMiB))
        .sort((a, b) => a - b),
      runs: wholeNumber('--runs', values.runs, 1),
      filesystems: namesOf<BenchFilesystem>('--filesystems', values.filesystems, ['ext4', 'xfs']),
      methods: namesOf('--methods', values.methods, methodNames),
      ...{ cache, out: values.out },
    };
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : error}\n\n${usage}`);
  }
}

/** @throws Error when it is none, or less than `least` */
export function wholeNumber(option: string, text: string, least: number): number {
  if (/^\d{1,9}$/.test(text) && Number(text) >= least) return Number(text);
  throw new Error(`${option} ${text}: write a whole number, ${least} or more`);
}

/** In the order of `known`, each once. */
function namesOf<T extends string>(option: string, text: string, known: readonly T[]): T[] {
  const given = text.split(',');
  const stranger = given.find((name) => !known.some((other) => other === name));
  if (stranger !== undefined) throw new Error(`${option} ${stranger}: choose from ${known.join(', ')}`);
  return known.filter((name) => given.includes(name));
}
