import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isAlive, readProcessStat } from '../../src/process-identity.js';
import { type CliResult, runCli } from '../support/cli.js';
import { bootGuest, type RealGuest, withGuest } from '../support/real-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** Our console beside `uml_mconsole`, on the same guest: the same lines, the same answers. */

let dir: string;
let guest: RealGuest;
let other: RealGuest;
let env: Record<string, string>;

beforeAll(async () => {
  dir = await makeTempDir();
  // No config but those that a test names.
  env = { UMLSNAP_CONFIG: '', HOME: dir };
  guest = await bootGuest({ dir, sizeMiB: 64, writer: 'none' });
  other = await bootGuest({ dir, sizeMiB: 64, writer: 'none', unlockedDisks: true });
  await writeFile(join(dir, 'extra.img'), Buffer.alloc(2 ** 20));
});
afterAll(async () => {
  await Promise.all([guest?.kill(), other?.kill()]);
  await removeTempDir(dir);
});

/** In this order: what one of them changes, a later one changes back. */
const lines = [
  ...['version', 'help', 'log hello from outside', 'config mem', 'config ubd0', 'config ubd7'],
  ...['config ubd99', 'config', 'config eth0', 'config con', 'config con1', 'remove', 'remove ubd9'],
  ...['config ubd5=extra.img', 'config ubd5', 'config ubd5=extra.img', 'remove ubd5', 'config ubd5'],
  ...['proc version', 'proc cmdline', 'proc filesystems', 'proc nope', 'sysrq', 'sysrq s', 'sysrq h'],
  ...['stack', 'stack 99999', 'dance', 'umlfs', 'stop', 'stop', 'version', 'config ubd0', 'go', 'go'],
  ...['log -f text', 'switch nowhere', 'mconsole-version'],
];

interface Answer {
  text: string;
  isOk: boolean;
}

/** What `uml_mconsole` says differently by intent. */
function asOurs(line: string, { text, isOk }: Answer): Answer {
  // It sends the end of the line by itself, and tells of that too.
  if (line.startsWith('log')) return { text: text.replace(/^(OK \n)+$/, 'OK \n'), isOk };
  if (line === 'help') return { text: text.replace(/Additional[\s\S]*/, ''), isOk };
  return { text: text.replace('uml_mconsole client', 'umlsnap mconsole client'), isOk };
}

function runTool(args: string[], input?: string): Promise<CliResult> {
  return resultOf(spawn('uml_mconsole', args, { cwd: dir }), input);
}

function resultOf(child: ChildProcessWithoutNullStreams, input?: string): Promise<CliResult> {
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  child.stdin.end(input);
  return new Promise((done) => {
    child.on('close', (exitCode, signal) => done({ exitCode, signal, stdout, stderr, json: [] }));
  });
}

/** What lies in the directory that both are started in. */
async function layOutFiles(): Promise<void> {
  // More than a request takes, with a line that is too long for one.
  const long = 'é'.repeat(300);
  await writeFile(join(dir, 'text'), `first of the file\n${long}\n${'a line\n'.repeat(100)}last of the file`);
}

test('a command on the command line is answered as by uml_mconsole', async () => {
  await layOutFiles();
  const theirs: Answer[] = [];
  for (const line of lines) {
    const { stdout, exitCode } = await runTool([guest.socketPath, line]);
    theirs.push(asOurs(line, { text: stdout, isOk: exitCode === 0 }));
  }
  for (const [n, line] of lines.entries()) {
    const our = await runCli(['mconsole', guest.socketPath, line], { env, cwd: dir });
    const refused = /refused `.*`: (.*) \(-?\d+\)/s.exec(our.stderr)?.[1];
    const text = withoutMarks(refused ?? our.stdout);
    const expected = { line, text: withoutMarks(theirs[n]?.text ?? ''), isOk: theirs[n]?.isOk };
    expect({ line, text, isOk: our.exitCode === 0 }).toEqual(expected);
  }
});

/** Without `OK` and `ERR`, which a single command's exit code says, our part of the help, and spaces at the end. */
function withoutMarks(text: string): string {
  const withoutHelp = text.replace(/^(OK|ERR) /, '').replace(/Additional[\s\S]*/, '');
  return withoutKernelWords(`${withoutHelp.trimEnd()}\n\n`).trimEnd();
}

test('lines from a pipe are answered as by uml_mconsole, and a failure among them shows in the exit code', async () => {
  const input = `${lines.join('\n')}\nquit\nversion\n`;
  const theirs = await runTool([guest.socketPath], input);
  // Without a terminal it prints its prompt and the line all the same.
  const prompt = `(${guest.socketPath.slice(0, 11)}) `;
  const their = theirs.stdout.split(prompt).slice(1, lines.length + 1);
  const our = await runCli(['mconsole', guest.socketPath], { env, cwd: dir, input });
  const expected = their.map((block, n) => {
    const line = lines[n] ?? '';
    const text = block.slice(line.length + 1);
    return asOurs(line, { text, isOk: true }).text;
  });
  const ourText = our.stdout.replace(/Additional[\s\S]*?without a sync\n/, '');
  expect(withoutKernelWords(ourText)).toBe(withoutKernelWords(expected.join('')));
  expect(our.exitCode).toBe(1);
  expect((await runCli(['mconsole', guest.socketPath], { env, input: 'version\n\n  \ngo\n' })).exitCode).toBe(
    1,
  );
  expect(
    (await runCli(['mconsole', guest.socketPath], { env, input: 'version\n\n\nconfig ubd0' })).exitCode,
  ).toBe(0);
});

/** What the kernel itself says of them comes into the answer, or into the next one, or into none if the console is busy. */
const withoutKernelWords = (text: string): string =>
  text.replace(/(?:(?:sysrq|open \/proc\/nope): .*\n)+\n/g, '\n');

test('all that is logged from a file arrives whole, with its last line ended', async () => {
  await layOutFiles();
  await guest.sh('dmesg -c > /dev/null');
  const { exitCode } = await runCli(['mconsole', guest.socketPath, 'log -f text'], { env, cwd: dir });
  expect(exitCode).toBe(0);
  const log = await guest.sh('dmesg');
  expect(log).toContain('first of the file');
  expect(log.match(/a line/g)).toHaveLength(100);
  expect(log).toContain('last of the file');
  expect(await guest.mconsole('sysrq s')).not.toContain('last of the file');
});

test('switch leads the lines that follow to another guest, by its name in the config too', async () => {
  const config = join(dir, 'config.yaml');
  const guests = { second: { mconsole: other.socketPath, disks: { ubd0: other.diskPath } } };
  const stores = { local: { type: 'directory', path: join(dir, 'store') } };
  await writeFile(config, JSON.stringify({ state: join(dir, 'state'), stores, guests }));
  const input = `config ubd0\nswitch second\nconfig ubd0\nswitch nowhere\nconfig ubd0\nswitch ${guest.socketPath}\nconfig ubd0\n`;
  const { stdout, stderr } = await runCli(['-c', config, 'mconsole', guest.socketPath], { input });
  expect(stdout.split('\n')).toEqual([
    `OK ${guest.diskPath}`,
    "Switched to 'second'",
    `OK ${other.diskPath}`,
    `OK ${other.diskPath}`,
    `Switched to '${guest.socketPath}'`,
    `OK ${guest.diskPath}`,
    '',
  ]);
  expect(stderr).toContain('nowhere');
});

test('what would harm a stopped guest is refused here as well', async () => {
  const input = 'stop\nconfig ubd5=extra.img\nremove ubd5\nremoveubd5\nproc kcore\nproc self/../kcore\ngo\n';
  const { stdout, stderr } = await runCli(['mconsole', guest.socketPath], { env, input, cwd: dir });
  expect(stdout).toBe('OK stopped\nOK \n');
  expect(stderr.match(/Send `go` first/g)).toHaveLength(3);
  expect(stderr.match(/never ends/g)).toHaveLength(2);
});

test('with --json each line is one object', async () => {
  const input = 'version\ndance\n';
  const { json } = await runCli(['--json', 'mconsole', guest.socketPath], { env, input });
  expect(json).toMatchObject([
    { type: 'summary', command: 'version', text: expect.stringContaining('Linux') },
    { type: 'error', code: 'CommandRefused' },
  ]);
});

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/** The console on a terminal, as a person has it. */
function openTerminal(socketPath: string) {
  const command = `exec ${process.execPath} ${main} mconsole ${socketPath}`;
  const env = { ...process.env, UMLSNAP_CONFIG: '', HOME: dir, TERM: 'xterm' };
  const child = spawn('script', ['-qec', command, '/dev/null'], { cwd: dir, env });
  let screen = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    screen += text;
  });
  const ended = new Promise<number | null>((done) => child.on('close', done));
  const shown = () => stripVTControlCharacters(screen);
  const times = (pattern: RegExp) => shown().match(new RegExp(pattern, 'g'))?.length ?? 0;
  return {
    shows: (pattern: RegExp) => pattern.test(shown()),
    type: (text: string) => child.stdin.write(text),
    until: (pattern: RegExp, count = 1) =>
      waitFor(`${count} times ${pattern} on the screen`, () => times(pattern) >= count, {
        found: () => JSON.stringify(shown().slice(-300)),
      }),
    /** Key by key, for what comes at once is taken for pasted text; on an empty line each time. */
    untilCompleted: (start: string, pattern: RegExp) =>
      waitFor(
        `${pattern} as the completion of ${start}`,
        async () => {
          for (const keys of [`\u0015${start}`, '\t', '\t']) {
            child.stdin.write(keys);
            await sleep(200);
          }
          return pattern.test(shown());
        },
        { found: () => JSON.stringify(shown().slice(-300)) },
      ),
    ended,
    close: () => child.kill('SIGKILL'),
  };
}

test('on a terminal there are a prompt, completion, a history, and Ctrl-C for an answer that does not come', async () => {
  const terminal = openTerminal(other.socketPath);
  try {
    await terminal.until(/\(\S+\) /);
    await terminal.untilCompleted('ver', /version/);
    terminal.type('\r');
    await terminal.until(/OK Linux/);
    terminal.type('\u001b[A');
    await terminal.until(/version/, 2);
    terminal.type('\r');
    await terminal.until(/OK Linux/, 2);
    await terminal.untilCompleted('conf', /\) config /);
    await terminal.untilCompleted('config ubd1', /ubd15/);
    terminal.type('\u0003');
    terminal.type('config ubd0\r');
    await terminal.until(/OK \/.*root\.img/);
    process.kill(other.pid, 'SIGSTOP');
    terminal.type('version\r');
    await terminal.until(/version\s+$/);
    terminal.type('\u0003');
    await terminal.until(/gave up waiting/);
    process.kill(other.pid, 'SIGCONT');
    terminal.type('quit\r');
    expect(await terminal.ended).toBe(0);
  } finally {
    process.kill(other.pid, 'SIGCONT');
    terminal.close();
  }
});

test('a guest that reboots is at the same console again', async () => {
  const terminal = openTerminal(other.socketPath);
  try {
    await terminal.until(/\(\S+\) /);
    terminal.type('reboot\r');
    await terminal.until(/OK /);
    await waitFor('the guest to answer after its reboot', async () => {
      terminal.type('version\r');
      await sleep(300);
      return terminal.shows(/OK Linux/);
    });
    terminal.type('\u0004');
    expect(await terminal.ended).toBe(0);
  } finally {
    terminal.close();
  }
});

test('cad, reboot and halt are answered as by uml_mconsole, and the latter two done', async () => {
  const options = { dir, sizeMiB: 64, writer: 'none', unlockedDisks: true } as const;
  await withGuest(options, (their) =>
    withGuest(options, async (our) => {
      for (const line of ['cad', 'reboot', 'halt']) {
        const toTheirs = await runTool([their.socketPath, line]);
        const toOurs = await runCli(['mconsole', our.socketPath, line], { env, cwd: dir });
        expect(withoutMarks(toOurs.stdout)).toBe(withoutMarks(toTheirs.stdout));
        expect({ line, exitCode: toOurs.exitCode, stderr: toOurs.stderr }).toEqual({
          ...{ line, exitCode: toTheirs.exitCode, stderr: '' },
        });
        for (const guest of [their, our]) await hasDone(guest, line);
      }
    }),
  );
});

/** `cad` is for init to act upon, which does nothing here. */
async function hasDone(guest: RealGuest, line: string): Promise<void> {
  if (line === 'halt') {
    await waitFor('the guest to end', () => guest.processes().length === 0);
    return;
  }
  const boots = line === 'cad' ? 1 : 2;
  const timesUp = async () => (await guest.console()).match(/test guest is up/g)?.length;
  await waitFor(`the guest to be up after its ${line}`, async () => (await timesUp()) === boots);
}

test('int ends the guest that holds the socket, whatever a pid file says', async () => {
  const bystander = spawn('sleep', ['600'], { stdio: 'ignore' });
  try {
    const pid = bystander.pid ?? 0;
    const identity = { pid, startTicks: readProcessStat(pid)?.startTicks ?? 0 };
    await writeFile(join(guest.socketPath, '../pid'), `${pid}\n`);
    const { stdout, exitCode } = await runCli(['mconsole', guest.socketPath, 'int'], { env });
    expect({ stdout, exitCode }).toEqual({ stdout: `Sent SIGINT to process ${guest.pid}\n`, exitCode: 0 });
    await waitFor('the guest to end', () => guest.processes().length === 0);
    expect(isAlive(identity)).toBe(true);
    const again = await runCli(['mconsole', guest.socketPath, 'int'], { env });
    expect(again).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('no signal was sent') });
  } finally {
    bystander.kill('SIGKILL');
  }
});
