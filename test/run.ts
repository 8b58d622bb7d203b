import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { containment } from './support/containment.js';
import { ensureDebianPackages } from './support/debian-packages.js';
import { runTool } from './support/run-tool.js';
import { withTempDir } from './support/temp-dir.js';
import { countTests, type Run, runOf, skippedOf, type TestCounts, wordsOf } from './support/test-counts.js';

/**
 * `npm test`: all that a fresh machine needs, in order. Arguments go to vitest: `npm test -- test/pause`. With `--changed [REF]` only
 * what a change since then can have broken, for the inner loop: `changedFiles`.
 */

const root = resolve(import.meta.dirname, '..');
const vitest = join(root, 'node_modules/.bin/vitest');
const config = ['--config', 'test/vitest.config.ts'];
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const say = (line: string) => process.stdout.write(`${line}\n`);

/** Announces a step by one line with its time; why it failed stands before it. */
async function step(name: string, run: () => Promise<unknown>): Promise<boolean> {
  const startedAt = performance.now();
  const ok = await run().then(
    () => true,
    (error: Error) => {
      say(error.message);
      return false;
    },
  );
  say(`${name}: ${ok ? 'ok' : 'FAILED'}, ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  return ok;
}

const npmScript = (name: string) => runTool('npm', ['run', '--silent', '--prefix', root, name], 30 * 60_000);

async function runVitest(dir: string, filters: string[]): Promise<Run> {
  // Guests that run as another user find their way through it.
  chmodSync(dir, 0o711);
  const report = join(dir, 'report.json');
  const walls = containment();
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const [command = '', ...args] = [...walls, vitest, 'run', ...config, ...reporters, ...filters];
  const env = { ...process.env, TMPDIR: dir };
  const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'] });
  // A signal ends the tests first, so that the directory is removed after them.
  const passOn = (signal: NodeJS.Signals) => {
    // unshare hears nothing else, and all that is within goes with it.
    child.kill(walls.length > 0 ? 'SIGKILL' : signal);
  };
  for (const signal of signals) process.on(signal, passOn);
  const [code] = await once(child, 'close');
  for (const signal of signals) process.off(signal, passOn);
  // There is none when vitest ended before it wrote it: that counts as a failure.
  return runOf(existsSync(report) ? readFileSync(report, 'utf8') : undefined, code === 0);
}

async function runAll(): Promise<number> {
  if (!(await step('Debian packages', () => ensureDebianPackages(say, ['chromium'])))) return 2;
  // What was built before may have pieces that nothing needs any more. A build by itself leaves them: a daemon may be running from there.
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  const built = await step('build', () => npmScript('build'));
  let failedSteps = built ? 0 : 1;
  for (const name of ['typecheck', 'lint', 'format:check']) {
    if (!(await step(name, () => npmScript(name)))) failedSteps += 1;
  }
  const counts = built ? await test(process.argv.slice(2)) : { passed: 0, failed: 0, skipped: 0 };
  if (failedSteps > 0) say(`${failedSteps} of the failed: build, typecheck, lint or format:check, see above`);
  say(wordsOf({ ...counts, failed: counts.failed + failedSteps }));
  return counts.failed + failedSteps > 0 ? 1 : 0;
}

/** Each file runs once: a test that fails now and then is a bug, here or in what it tests. */
async function test(args: string[]): Promise<TestCounts> {
  const filters = args[0] === '--changed' ? await changedFiles(args[1] ?? 'HEAD') : args;
  const run = await withTempDir((dir) => runVitest(dir, filters));
  const { names, unexcused } = skippedOf(run);
  // Of a run by name all the others are left out.
  const byName = args.some((argument) => /^(-t|--testNamePattern)/.test(argument));
  if (names.length > 0 && !byName) say(`\nSkipped:\n  ${names.join('\n  ')}`);
  const counts = countTests(run);
  if (process.env.CI === undefined || unexcused.length === 0) return counts;
  say(`In CI a test is skipped only for what the machine can't do:\n  ${unexcused.join('\n  ')}`);
  return { ...counts, failed: counts.failed + unexcused.length };
}

/** Boots a guest, backs it up and looks at all of it: what any change of the product may have broken. */
const smoke = 'test/guests/snapshot-reflink.test.ts';

/**
 * The tests that import what was changed since `ref`, those with guests left out: they take minutes. Of these the ones that were
 * themselves changed run, and one for all others.
 */
async function changedFiles(ref: string): Promise<string[]> {
  const lines = (command: string, args: string[]) =>
    spawnSync(command, args, { cwd: root, encoding: 'utf8' }).stdout.split('\n').filter(Boolean);
  const unit = lines(vitest, ['list', '--filesOnly', ...config, '--project', 'unit', '--changed', ref]);
  const changed = [
    ...lines('git', ['diff', '--name-only', '--diff-filter=d', ref]),
    ...lines('git', ['ls-files', '--others', '--exclude-standard']),
  ];
  const guests = changed.filter((file) => /^test\/guests\/.*\.test\.ts$/.test(file));
  return [...unit.map((line) => line.replace(/^\[unit\] /, '')), ...guests, smoke];
}

process.exitCode = await runAll();
