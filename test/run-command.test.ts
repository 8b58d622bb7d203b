import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readProcessStat } from '../src/process-identity.js';
import { runCommand, streamCommand } from '../src/run-command.js';
import { withTempDir } from './support/temp-dir.js';
import { waitFor } from './support/wait-for.js';

const timeoutMs = 30_000;
const sh = (script: string, ...args: string[]): [string, ...string[]] => ['sh', '-c', script, 'sh', ...args];

test('nothing of an argument is taken for more than text', async () => {
  const nasty = '$(touch /tmp/x); `id` "\' \\ * \n';
  const { stdout } = await runCommand(['printf', '%s', nasty], { timeoutMs });
  expect(stdout).toBe(nasty);
});

test('input, environment, directory and exit codes that are no failure get through', async () => {
  await withTempDir(async (cwd) => {
    const script = 'cat; echo " $A $HOME"; pwd; echo said >&2; exit 4';
    const env = { A: 'b', PATH: process.env.PATH };
    const end = await runCommand(sh(script), { timeoutMs, input: 'in', env, cwd, okExitCodes: [0, 4] });
    expect(end).toEqual({ exitCode: 4, stdout: `in b \n${cwd}\n`, stderr: 'said' });
  });
});

test('a failure says the exit code and the reason, and neither the arguments nor a secret', async () => {
  const script = 'echo "no pass-word for rest:https://me:hidden@host/, \u001b[31mred" >&2; exit 7';
  const options = { timeoutMs, secrets: ['pass-word', ''] };
  const error = await runCommand(sh(script, 'an argument'), options).catch((thrown) => thrown);
  expect(error).toMatchObject({
    code: 'CommandFailed',
    facts: { command: 'sh', exitCode: 7, problem: 'no *** for rest:https://***@host/,  [31mred' },
  });
  expect(`${error.stack} ${error.cause}`).not.toMatch(/pass-word|hidden|an argument/);
});

test('a program that is not there, and one that dies, are told apart', async () => {
  const problemOf = (argv: [string, ...string[]]) =>
    runCommand(argv, { timeoutMs }).catch((error) => error.facts);
  const missing = { exitCode: null, problem: 'it is not installed, or not on the PATH' };
  expect(await problemOf(['no-such-program'])).toMatchObject(missing);
  expect(await problemOf(sh('kill -9 $$'))).toMatchObject({ problem: 'it was ended by SIGKILL' });
  expect(await problemOf(['/etc/passwd'])).toMatchObject({ problem: "it can't be started (EACCES)" });
});

test('lines come as they are written, in one piece each, the last without its end as well', async () => {
  const lines: string[] = [];
  const said: string[] = [];
  const script =
    "printf 'one\\ntw'; printf 'a\\nb' >&2; sleep 0.1; printf 'o\\n\\303'; sleep 0.1; printf '\\244'";
  const { stdout } = await runCommand(sh(script), {
    timeoutMs,
    onLine: (line) => lines.push(line),
    onErrorLine: (line) => said.push(line),
  });
  expect([lines, said, stdout]).toEqual([['one', 'two', 'ä'], ['a', 'b'], '']);
});

test('a program that writes without an end is ended at the limit', async () => {
  const tooMuch = { code: 'CommandFailed', facts: { problem: 'it wrote more than 100000 bytes' } };
  const options = { timeoutMs, maxOutputBytes: 100_000 };
  await expect(runCommand(['yes'], options)).rejects.toMatchObject(tooMuch);
  const oneLine = runCommand(['cat', '/dev/zero'], { ...options, onLine: () => {} });
  await expect(oneLine).rejects.toMatchObject(tooMuch);
  const { stdout } = await runCommand(['head', '-c', '100000', '/dev/zero'], options);
  expect(stdout.length).toBe(100_000);
});

test('one that overruns its time is ended, also when it ignores SIGTERM and when another holds its output', async () => {
  const expectOverrun = (program: [string, ...string[]], timeoutMs: number, onLine = (_: string) => {}) =>
    expect(runCommand(program, { timeoutMs, onLine })).rejects.toMatchObject({
      ...{ code: 'CommandFailed', facts: { problem: `it did not end within ${timeoutMs} ms` } },
    });
  await expectOverrun(['sleep', '60'], 200);
  let pid = 0;
  const onLine = (line: string) => {
    pid = Number(line);
  };
  // Where the host is busy, it may not have told anything yet.
  for (let limitMs = 200; pid === 0; limitMs *= 2)
    await expectOverrun(sh('sleep 60 & echo $!'), limitMs, onLine);
  process.kill(pid, 'SIGKILL');
  // What a shell ignores, the program that takes its place ignores as well.
  const deaf = sh('trap "" TERM; exec sleep 60');
  await expectOverrun(deaf, 200);
});

test('an abort ends the program and throws its reason; one that came before starts nothing', async () => {
  const aborting = new AbortController();
  let pid = 0;
  const running = runCommand(sh('echo $$; exec sleep 60'), {
    timeoutMs,
    signal: aborting.signal,
    onLine: (line) => {
      pid = Number(line);
      aborting.abort(new Error('enough'));
    },
  });
  await expect(running).rejects.toThrow('enough');
  expect(readProcessStat(pid)).toBeUndefined();
  await withTempDir(async (dir) => {
    const late = runCommand(['touch', join(dir, 'made')], { timeoutMs, signal: aborting.signal });
    await expect(late).rejects.toThrow('enough');
    expect(existsSync(join(dir, 'made'))).toBe(false);
  });
});

test('a stream gives every byte to a slow reader, and a program that failed in the end fails it', async () => {
  let bytes = 0;
  for await (const piece of streamCommand(['head', '-c', '3000000', '/dev/zero'], { timeoutMs: null })) {
    bytes += piece.length;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  expect(bytes).toBe(3_000_000);
  const failing = streamCommand(sh('echo some; exit 3'), { timeoutMs });
  expect((await failing.next()).value?.toString()).toBe('some\n');
  await expect(failing.next()).rejects.toMatchObject({ code: 'CommandFailed', facts: { exitCode: 3 } });
});

test('a stream that nobody reads to its end leaves no program behind', async () => {
  let pid = 0;
  for await (const piece of streamCommand(sh('echo $$; exec yes'), { timeoutMs })) {
    pid = Number(piece.toString().split('\n')[0]);
    break;
  }
  expect(pid).toBeGreaterThan(0);
  await waitFor('its end', () => readProcessStat(pid) === undefined);
});
