import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import { execa } from 'execa';
import { beforeAll, expect, test } from 'vitest';
import { isAlive, readProcessStat } from '../../src/process-identity.js';
import { cliScript, runCli } from '../support/cli.js';
import type { RealGuest } from '../support/real-guest.js';
import { setScene, settingsOf } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** Our console beside `uml_mconsole`, on the same guest: the same lines, the same answers. */

const scene = setScene({ guest: { unlockedDisks: true } });
let other: RealGuest;
let env: Record<string, string>;

beforeAll(async () => {
  // No config but those that a test names.
  env = { UMLSNAP_CONFIG: '', HOME: scene.dir };
  other = await scene.boot({ unlockedDisks: true });
  await writeFile(scene.path('extra.img'), Buffer.alloc(2 ** 20));
  // More than a request takes, with a line that is too long for one.
  const text = ['first of the file', 'é'.repeat(300), ...Array(100).fill('a line'), 'last of the file'];
  await writeFile(scene.path('text'), text.join('\n'));
});

const ours = (socketPath: string, line?: string, input?: string) =>
  runCli(['mconsole', socketPath, ...(line === undefined ? [] : [line])], {
    ...{ env, cwd: scene.dir, ...(input !== undefined && { input }) },
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

/** What `uml_mconsole` says differently by intent. */
function asOurs(line: string, text: string): string {
  // It sends the end of the line by itself, and tells of that too.
  if (line.startsWith('log')) return text.replace(/^(OK \n)+$/, 'OK \n');
  if (line === 'help') return text.replace(/Additional[\s\S]*/, '');
  return text.replace('uml_mconsole client', 'umlsnap mconsole client');
}

const theirs = (args: string[], input = '') =>
  execa('uml_mconsole', args, { cwd: scene.dir, input, reject: false, stripFinalNewline: false });

test('a command on the command line is answered as by uml_mconsole', async () => {
  // One of each kind of answer: all lines are compared where they come from a pipe.
  const some = ['version', 'help', 'log hello from outside', 'config ubd0', 'config ubd99', 'dance'];
  for (const line of [...some, 'proc nope', 'switch nowhere', 'mconsole-version']) {
    const their = await theirs([scene.guest.socketPath, line]);
    const our = await ours(scene.guest.socketPath, line);
    const refused = /refused `.*`: (.*) \(-?\d+\)/s.exec(our.stderr)?.[1];
    const text = withoutMarks(refused ?? our.stdout);
    const expected = { text: withoutMarks(asOurs(line, their.stdout)), isOk: their.exitCode === 0 };
    expect({ line, text, isOk: our.exitCode === 0 }).toEqual({ line, ...expected });
  }
});

/** Without `OK` and `ERR`, which a single command's exit code says, our part of the help, and spaces at the end. */
function withoutMarks(text: string): string {
  const withoutHelp = text.replace(/^(OK|ERR) /, '').replace(/Additional[\s\S]*/, '');
  return withoutKernelWords(`${withoutHelp.trimEnd()}\n\n`).trimEnd();
}

test('lines from a pipe are answered as by uml_mconsole, and a failure among them shows in the exit code', async () => {
  const input = `${lines.join('\n')}\nquit\nversion\n`;
  const { stdout } = await theirs([scene.guest.socketPath], input);
  // Without a terminal it prints its prompt and the line all the same.
  const prompt = `(${scene.guest.socketPath.slice(0, 11)}) `;
  const their = stdout.split(prompt).slice(1, lines.length + 1);
  const our = await ours(scene.guest.socketPath, undefined, input);
  const expected = lines.map((line, n) => asOurs(line, (their[n] ?? '').slice(line.length + 1)));
  const ourText = our.stdout.replace(/Additional[\s\S]*?without a sync\n/, '');
  expect(withoutKernelWords(ourText)).toBe(withoutKernelWords(expected.join('')));
  expect(our.exitCode).toBe(1);
  const exitCodeOf = async (lines: string) => (await ours(scene.guest.socketPath, undefined, lines)).exitCode;
  expect(await exitCodeOf('version\n\n  \ngo\n')).toBe(1);
  expect(await exitCodeOf('version\n\n\nconfig ubd0')).toBe(0);
});

/** What the kernel itself says of them comes into the answer, or into the next one, or into none if the console is busy. */
const withoutKernelWords = (text: string): string =>
  text.replace(/(?:(?:sysrq|open \/proc\/nope): .*\n)+\n/g, '\n');

test('all that is logged from a file arrives whole, with its last line ended', async () => {
  const { guest } = scene;
  await guest.sh('dmesg -c > /dev/null');
  const { exitCode } = await ours(guest.socketPath, 'log -f text');
  expect(exitCode).toBe(0);
  const log = await guest.sh('dmesg');
  expect(log).toContain('first of the file');
  expect(log.match(/a line/g)).toHaveLength(100);
  expect(log).toContain('last of the file');
  expect(await guest.mconsole('sysrq s')).not.toContain('last of the file');
});

test('switch leads the lines that follow to another guest, by its name in the config too', async () => {
  const { guest } = scene;
  await scene.configure({ second: settingsOf(other) });
  const input = `config ubd0\nswitch second\nconfig ubd0\nswitch nowhere\nconfig ubd0\nswitch ${guest.socketPath}\nconfig ubd0\n`;
  const { stdout, stderr } = await scene.start(['mconsole', guest.socketPath], { input }).exited;
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
  const { stdout, stderr } = await ours(scene.guest.socketPath, undefined, input);
  expect(stdout).toBe('OK stopped\nOK \n');
  expect(stderr.match(/Send `go` first/g)).toHaveLength(3);
  expect(stderr.match(/never ends/g)).toHaveLength(2);
});

test('with --json each line is one object', async () => {
  const input = 'version\ndance\n';
  const { json } = await runCli(['--json', 'mconsole', scene.guest.socketPath], { env, input });
  expect(json).toMatchObject([
    { type: 'summary', command: 'version', text: expect.stringContaining('Linux') },
    { type: 'error', code: 'CommandRefused' },
  ]);
});

/** The console on a terminal, as a person has it. */
function openTerminal(socketPath: string) {
  const command = `exec ${process.execPath} ${cliScript} mconsole ${socketPath}`;
  const env = { ...process.env, UMLSNAP_CONFIG: '', HOME: scene.dir, TERM: 'xterm' };
  const child = spawn('script', ['-qec', command, '/dev/null'], { cwd: scene.dir, env });
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
  const before = await timesUp(other);
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
    await waitFor('the guest to be up again', async () => (await timesUp(other)) > before);
  } finally {
    terminal.close();
  }
});

test('cad, reboot and halt are answered as by uml_mconsole, and the latter two done', async () => {
  const third = await scene.boot({ unlockedDisks: true });
  for (const [line, their, boots] of [
    // For init to act upon, which does nothing here.
    ['cad', scene.guest, 0],
    ['reboot', scene.guest, 1],
    ['halt', third, null],
  ] as const) {
    const guests = [their, other];
    const before = await Promise.all(guests.map(timesUp));
    const toTheirs = await theirs([their.socketPath, line]);
    const toOurs = await ours(other.socketPath, line);
    expect(withoutMarks(toOurs.stdout)).toBe(withoutMarks(toTheirs.stdout));
    const { exitCode } = toTheirs;
    expect({ line, exitCode: toOurs.exitCode, stderr: toOurs.stderr }).toEqual({
      line,
      exitCode,
      stderr: '',
    });
    for (const [n, guest] of guests.entries()) {
      const isDone =
        boots === null
          ? () => guest.processes().length === 0
          : async () => (await timesUp(guest)) === (before[n] ?? 0) + boots;
      await waitFor(`what comes of ${line}`, isDone);
    }
  }
});

const timesUp = async (guest: RealGuest) => (await guest.console()).match(/test guest is up/g)?.length ?? 0;

test('int ends the guest that holds the socket, whatever a pid file says', async () => {
  const { guest } = scene;
  const bystander = spawn('sleep', ['600'], { stdio: 'ignore' });
  try {
    const pid = bystander.pid ?? 0;
    const identity = { pid, startTicks: readProcessStat(pid)?.startTicks ?? 0 };
    await writeFile(join(guest.socketPath, '../pid'), `${pid}\n`);
    const { stdout, exitCode } = await ours(guest.socketPath, 'int');
    expect({ stdout, exitCode }).toEqual({ stdout: `Sent SIGINT to process ${guest.pid}\n`, exitCode: 0 });
    await waitFor('the guest to end', () => guest.processes().length === 0);
    expect(isAlive(identity)).toBe(true);
    const again = await ours(guest.socketPath, 'int');
    expect(again).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('no signal was sent') });
  } finally {
    bystander.kill('SIGKILL');
  }
});
