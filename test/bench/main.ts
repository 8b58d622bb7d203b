import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { errnoOf } from '../../src/errors.js';
import { buildAll } from '../support/build.js';
import { afterOurDeath } from '../support/death-watch.js';
import { ensureDebianPackages } from '../support/debian-packages.js';
import { withTempDir } from '../support/temp-dir.js';
import { cacheVariable } from '../support/test-cache.js';
import { describeMachine } from './machine.js';
import { type BenchOptions, parseOptions } from './options.js';
import { emptyDocument, type Findings, putInto, reportOf } from './report.js';
import { runAll } from './run-all.js';
import { compilePrograms } from './stage.js';

/** `npm run bench`: how long real guests stand still, by each method, on this machine. */

const root = resolve(import.meta.dirname, '../..');
const say = (line: string) => void process.stdout.write(`${line}\n`);
/** Aborted by a signal: the run that is under way ends, and then all that was made is removed. */
const interruption = new AbortController();

async function bench(options: BenchOptions, dir: string): Promise<Findings> {
  // All that the support of the tests makes lies in it, the images that it keeps as well.
  process.env.TMPDIR = dir;
  process.env[cacheVariable] = join(dir, 'cache');
  const machine = await describeMachine(dir);
  await compilePrograms(dir);
  const measured = await runAll({ options, dir, signal: interruption.signal, say });
  const command = ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])];
  return {
    takenAt: new Date(),
    command: command.join(' '),
    ...{ ...measured, machine, cache: options.cache },
  };
}

async function writeDown(out: string, findings: Findings): Promise<void> {
  await mkdir(out, { recursive: true });
  const file = join(out, 'benchmarks.md');
  const document = await readFile(file, 'utf8').catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return emptyDocument;
    throw error;
  });
  await writeFile(file, putInto(document, reportOf(findings)));
  say(`written: ${file}`);
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2), { isRoot: process.getuid?.() === 0 });
  await ensureDebianPackages(say, ['gcc', 'libc6-dev']);
  await buildAll();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      say('interrupted: ends after this run');
      interruption.abort(new Error(`interrupted by ${signal}`));
    });
  }
  const findings = await withTempDir(async (dir) => {
    // A moment later than the guests and mounts in it, which go the same way.
    const watch = afterOurDeath('sleep 3; rm -rf --one-file-system -- "$1"', [dir]);
    return await bench(options, dir).finally(() => watch.cancel());
  });
  await writeDown(resolve(root, options.out), findings);
}

main().catch((error: unknown) => {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
});
