import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { containment } from './support/containment.js';
import { ensureDebianPackages } from './support/debian-packages.js';
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

/** Announces a step by one line with its time; what it printed is shown only when it failed. */
async function step(name: string, run: () => Promise<{ ok: boolean; output: string }>): Promise<boolean> {
  const startedAt = performance.now();
  const { ok, output } = await run();
  if (!ok) say(output.trimEnd());
  say(`${name}: ${ok ? 'ok' : 'FAILED'}, ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  return ok;
}

function npmScript(name: string): Promise<{ ok: boolean; output: string }> {
  const child = spawn('npm', ['run', '--silent', name], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  return new Promise((done, reject) => {
    child.once('error', reject);
    child.once('close', (code) => done({ ok: code === 0, output }));
  });
}

async function debianPackages(): Promise<{ ok: boolean; output: string }> {
  const { missing } = await ensureDebianPackages(say, ['chromium']);
  return { ok: missing.length === 0, output: `as root: apt-get install ${missing.join(' ')}` };
}

function runVitest(filters: string[]): Promise<Run> {
  const dir = mkdtempSync(join(tmpdir(), 'ut-'));
  // Guests that run as another user find their way through it.
  chmodSync(dir, 0o711);
  return vitestIn(dir, filters).finally(() => rmSync(dir, { recursive: true, force: true }));
}

function vitestIn(dir: string, filters: string[]): Promise<Run> {
  const report = join(dir, 'report.json');
  const walls = containment();
  const [command = '', ...args] = [
    ...[...walls, vitest, 'run', ...config, '--reporter=default', '--reporter=json'],
    `--outputFile.json=${report}`,
    ...filters,
  ];
  const env = { ...process.env, TMPDIR: dir };
  const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'] });
  // A signal ends the tests first, so that the directory is removed after them.
  const passOn = (signal: NodeJS.Signals) => {
    // unshare hears nothing else, and all that is within goes with it.
    child.kill(walls.length > 0 ? 'SIGKILL' : signal);
  };
  for (const signal of signals) process.on(signal, passOn);
  return new Promise((done, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      for (const signal of signals) process.off(signal, passOn);
      done(runOf(readFile(report), code === 0));
    });
  });
}

function readFile(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // vitest ended before it wrote one: that counts as a failure
  }
}

async function runAll(): Promise<number> {
  if (!(await step('Debian packages', debianPackages))) return 2;
  // What was built before may have pieces that nothing needs any more. A build by itself leaves them: a daemon may be running from there.
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  const built = await step('build', () => npmScript('build'));
  let failedSteps = built ? 0 : 1;
  for (const name of ['typecheck', 'lint', 'format:check']) {
    if (!(await step(name, () => npmScript(name)))) failedSteps += 1;
  }
  const counts = built ? await test() : { passed: 0, failed: 0, skipped: 0 };
  if (failedSteps > 0) say(`${failedSteps} of the failed: build, typecheck, lint or format:check, see above`);
  say(wordsOf({ ...counts, failed: counts.failed + failedSteps }));
  return counts.failed + failedSteps > 0 ? 1 : 0;
}

/** Each file runs once: a test that fails now and then is a bug, here or in what it tests. */
async function test(): Promise<TestCounts> {
  const [first, ref = 'HEAD'] = process.argv.slice(2);
  const files = first === '--changed' ? await changedFiles(ref) : process.argv.slice(2);
  const run = await runVitest(files);
  const { names, unexcused } = skippedOf(run);
  // Of a run by name all the others are left out.
  const byName = process.argv.some((argument) => /^(-t|--testNamePattern)/.test(argument));
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
