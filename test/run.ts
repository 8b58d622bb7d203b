import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { ensureDebianPackages } from './support/debian-packages.js';
import {
  countTests,
  filesToTryAgain,
  type Run,
  runOf,
  type TestCounts,
  withSecondTry,
  wordsOf,
} from './support/test-counts.js';
import { countFileVariable } from './support/unhandled-errors.js';

/** `npm test`: all that a fresh machine needs, in order. Arguments go to vitest: `npm test -- test/pause`. */

const root = resolve(import.meta.dirname, '..');
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
let wasInterrupted = false;
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

/**
 * What to put before the command so that nothing outlives it: in a pid and a mount namespace of their own, the
 * processes, mounts and loop devices of a killed run are gone with it, and what it left in a /dev/shm of its own. The `sh` there is
 * the init that buries orphans; without the `exit` after it, it would become the command itself.
 */
function containment(): string[] {
  const inNamespace = 'unshare --pid --fork --kill-child=SIGKILL --mount --mount-proc sh -c'.split(' ');
  const script =
    'mount -t tmpfs -o mode=1777 tmpfs /dev/shm || echo "/dev/shm is everybody\'s" >&2; "$@"; exit $?';
  const command = ['setpriv', '--pdeathsig', 'KILL', ...inNamespace, script, 'sh'];
  const probe = spawnSync(command[0] ?? '', [...command.slice(1), 'true'], { stdio: 'ignore' });
  return probe.status === 0 ? command : [];
}

function runVitest(filters: string[]): Promise<Run> {
  const dir = mkdtempSync(join(tmpdir(), 'ut-'));
  // Guests that run as another user find their way through it.
  chmodSync(dir, 0o711);
  return vitestIn(dir, filters).finally(() => rmSync(dir, { recursive: true, force: true }));
}

function vitestIn(dir: string, filters: string[]): Promise<Run> {
  const report = join(dir, 'report.json');
  const unhandled = join(dir, 'unhandled-errors');
  const walls = containment();
  const [command = '', ...args] = [
    ...walls,
    join(root, 'node_modules/.bin/vitest'),
    ...['run', '--config', 'test/vitest.config.ts', '--reporter=default', '--reporter=json'],
    '--reporter=./test/support/unhandled-errors.ts',
    `--outputFile.json=${report}`,
    ...filters,
  ];
  const env = { ...process.env, TMPDIR: dir, [countFileVariable]: unhandled };
  const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'] });
  // A signal ends the tests first, so that the directory is removed after them.
  const passOn = (signal: NodeJS.Signals) => {
    wasInterrupted = true;
    // unshare hears nothing else, and all that is within goes with it.
    child.kill(walls.length > 0 ? 'SIGKILL' : signal);
  };
  for (const signal of signals) process.on(signal, passOn);
  return new Promise((done, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      for (const signal of signals) process.off(signal, passOn);
      done(runOf(readFile(report), code === 0, Number(readFile(unhandled) ?? 0)));
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

/**
 * By hand nothing is tried twice: a test that fails now and then is a bug. CI runs all of them for most of an hour on a
 * machine that others share: it runs a file that failed once more, and says so, for whoever looks for those bugs.
 */
async function test(): Promise<TestCounts> {
  const first = await runVitest(process.argv.slice(2));
  const again = process.env.CI === undefined || wasInterrupted ? [] : filesToTryAgain(first);
  if (again.length === 0) return countTests(first);
  say(`\nTried once more, from its beginning, as a test of it failed: ${again.join(', ')}\n`);
  return countTests(withSecondTry(first, await runVitest(again)));
}

process.exitCode = await runAll();
