import { parseArgs } from 'node:util';
import { type MethodName, methodNames } from './methods.js';

/** What `npm run bench -- …` measures; by default all that the project claims. */
export interface BenchOptions {
  sizesMiB: number[];
  /** Of each method, for each size and filesystem. */
  runs: number;
  filesystems: BenchFilesystem[];
  methods: MethodName[];
  /** Whether the host's page cache is emptied before each run. */
  cache: 'cold' | 'warm';
  /** The directory of benchmarks.md and pause-by-size.svg. */
  out: string;
}

export const filesystemNames = ['ext4', 'xfs'] as const;
export type BenchFilesystem = (typeof filesystemNames)[number];

export const usage = `npm run bench -- [options]
  --sizes 256,1024,4096        sizes of the image, in MiB
  --runs 10                    of each method, for each size and filesystem
  --filesystems ext4,xfs
  --methods ${methodNames.join(',')}
  --cache cold                 cold: the page cache is emptied before each run (needs root); warm: it is not
  --out docs                   where benchmarks.md and pause-by-size.svg are written`;

/** Reads the command line. @throws Error with what is wrong in it */
export function parseOptions(args: string[], { isRoot }: { isRoot: boolean }): BenchOptions {
  const { values } = parseArgs({
    args,
    options: {
      sizes: { type: 'string', default: '256,1024,4096' },
      runs: { type: 'string', default: '10' },
      filesystems: { type: 'string', default: filesystemNames.join(',') },
      methods: { type: 'string', default: methodNames.join(',') },
      cache: { type: 'string', default: isRoot ? 'cold' : 'warm' },
      out: { type: 'string', default: 'docs' },
    },
  });
  const [cache] = namesOf('--cache', values.cache, ['cold', 'warm'] as const);
  if (cache === 'cold' && !isRoot) throw new Error('--cache cold: only root may empty the page cache');
  return {
    sizesMiB: values.sizes
      .split(',')
      .map((text) => wholeNumber('--sizes', text, smallestMiB))
      .sort((a, b) => a - b),
    runs: wholeNumber('--runs', values.runs, 1),
    filesystems: namesOf('--filesystems', values.filesystems, filesystemNames),
    methods: namesOf('--methods', values.methods, methodNames),
    cache: cache ?? 'warm',
    out: values.out,
  };
}

/** The guest's system and the file that its load writes have to fit in. */
const smallestMiB = 160;

function wholeNumber(option: string, text: string, least: number): number {
  if (/^\d+$/.test(text) && Number(text) >= least) return Number(text);
  throw new Error(`${option} ${text}: write whole numbers, ${least} or more`);
}

/** In the order of `known`, each once. */
function namesOf<T extends string>(option: string, text: string, known: readonly T[]): T[] {
  const given = text.split(',');
  const stranger = given.find((name) => !known.some((other) => other === name));
  if (stranger !== undefined) throw new Error(`${option} ${stranger}: choose from ${known.join(', ')}`);
  return known.filter((name) => given.includes(name));
}
