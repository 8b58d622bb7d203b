import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { ensureDebianPackages } from './support/debian-packages.js';
import { countTests, type TestCounts, wordsOf } from './support/test-counts.js';

/** `npm test`: all that a fresh machine needs, in order. Arguments go to vitest: `npm test -- test/pause`. */

const root = resolve(import.meta.dirname, '..');
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
 * processes, mounts and loop devices of a killed run are gone with it. The `sh` there is the init that buries orphans;
 * without the `exit` after it, it would become the command itself.
 */
function containment(): string[] {
  const inNamespace = 'unshare --pid --fork --kill-child=SIGKILL --mount --mount-proc sh -c'.split(' ');
  const command = ['setpriv', '--pdeathsig', 'KILL', ...inNamespace, '"$@"; exit $?', 'sh'];
  const probe = spawnSync(command[0] ?? '', [...command.slice(1), 'true'], { stdio: 'ignore' });
  return probe.status === 0 ? command : [];
}

function runVitest(dir: string): Promise<TestCounts> {
  const report = join(dir, 'report.json');
  const [command = '', ...args] = [
    ...containment(),
    join(root, 'node_modules/.bin/vitest'),
    ...['run', '--config', 'test/vitest.config.ts', '--reporter=default', '--reporter=json'],
    `--outputFile.json=${report}`,
    ...process.argv.slice(2),
  ];
  const env = { ...process.env, TMPDIR: dir };
  const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'] });
  // A signal ends the tests first, so that the directory is removed after them.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  return new Promise((done, reject) => {
    child.once('error', reject);
    child.once('close', (code) => done(countTests(readReport(report), code === 0)));
  });
}

function readReport(path: string): string | undefined {
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
  const counts = built ? await testInOwnDirectory() : { passed: 0, failed: 0, skipped: 0 };
  if (failedSteps > 0) say(`${failedSteps} of the failed: build, typecheck, lint or format:check, see above`);
  say(wordsOf({ ...counts, failed: counts.failed + failedSteps }));
  return counts.failed + failedSteps > 0 ? 1 : 0;
}

async function testInOwnDirectory(): Promise<TestCounts> {
  const dir = mkdtempSync(join(tmpdir(), 'ut-'));
  // Guests that run as another user find their way through it.
  chmodSync(dir, 0o711);
  try {
    return await runVitest(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

process.exitCode = await runAll();
