import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import * as commands from '../../src/mconsole/commands.js';
import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';
import { isAlive, readProcessStat } from '../../src/process-identity.js';
import { cliScript, runCli } from '../support/cli.js';
import { pidOf } from '../support/pid-of.js';
import type { RealGuest } from '../support/real-guest.js';
import { setScene, settingsOf } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** The console of a real guest: what our client reads there, and our command line beside `uml_mconsole`. */

const scene = setScene({ guest: { unlockedDisks: true } });
let other: RealGuest;
let client: MconsoleClient;
const options = { timeoutMs: 30_000 };

beforeAll(async () => {
  other = await scene.boot({ unlockedDisks: true });
  client = await MconsoleClient.open(scene.guest.socketPath);
  await writeFile(scene.path('extra.img'), Buffer.alloc(2 ** 20));
  // More than a request takes, with a line that is too long for one.
  const text = ['first of the file', 'é'.repeat(300), ...Array(100).fill('a line'), 'last of the file'];
  await writeFile(scene.path('text'), text.join('\n'));
});

afterAll(() => client?.close());

test('a real guest answers as we read it, running or stopped', async () => {
  const expectAnswers = async () => {
    expect(await commands.version(client, options)).toMatch(/^Linux \S+ \d+\.\d+/);
    expect(await commands.help(client, options)).toMatch(/^Commands:[\s\S]*stack <pid>/);
    expect(await commands.queryConfig(client, 'ubd0', options)).toBe(scene.guest.diskPath);
    expect(await commands.queryConfig(client, 'ubd7', options)).toBe('');
    expect(await commands.proc(client, 'vmstat', options)).toMatch(
      /^nr_free_pages \d+\n[\s\S]*^nr_dirty \d+$/m,
    );
    expect(await commands.proc(client, 'diskstats', options)).toContain('ubda');
    expect(await commands.proc(client, 'sys/kernel/sysrq', options)).toMatch(/^\d+\n$/);
    expect(await commands.sysrq(client, 's', options)).toContain('Emergency Sync');
    await expect(client.request('config ubd99', options)).rejects.toMatchObject({
      code: 'CommandRefused',
      facts: { text: expect.stringContaining('device number out of range') },
    });
  };
  await expectAnswers();
  expect(await commands.go(client, options)).toBe('notStopped');
  expect(await commands.stop(client, options)).toBe('stopped');
  expect(await commands.stop(client, options)).toBe('alreadyStopped');
  await expectAnswers();
  expect(await commands.go(client, options)).toBe('resumed');
});

test('the longest line is taken whole, and the next answer is free of it', async () => {
  await commands.log(client, 'x'.repeat(506), options);
  expect(await commands.sysrq(client, 's', options)).not.toContain('xxx');
  expect(await scene.guest.console()).toContain('x'.repeat(506));
});

test('requests that a guest answers late and in reverse order get each its own answer, and one that was given up gets none', async () => {
  process.kill(scene.guest.pid, 'SIGSTOP');
  await expect(client.request('version', { timeoutMs: 50 })).rejects.toMatchObject({
    code: 'GuestNotAnswering',
  });
  const device = client.ask('config ubd0');
  const uptime = client.ask('proc uptime');
  const release = client.ask('version');
  process.kill(scene.guest.pid, 'SIGCONT');
  expect(await device.answered).toBe(scene.guest.diskPath);
  expect(await uptime.answered).toMatch(/^\n[\d.]+ [\d.]+\n$/);
  expect(await release.answered).toContain('Linux');
});

test('a stop that a go overtook pauses the guest after it, and the next go resumes it', async () => {
  process.kill(scene.guest.pid, 'SIGSTOP');
  const overtaken = client.ask('stop');
  const tooEarly = client.ask('go');
  process.kill(scene.guest.pid, 'SIGCONT');
  expect(await commands.readGoAnswer(tooEarly.answered)).toBe('notStopped');
  expect(await commands.readStopAnswer(overtaken.answered)).toBe('stopped');
  expect(await commands.go(client, options)).toBe('resumed');
});

/** No config but those that a test names. */
const env = () => ({ UMLSNAP_CONFIG: '', HOME: scene.dir });

const ours = (args: string[], input = '') =>
  runCli(['mconsole', ...args], { env: env(), cwd: scene.dir, input });

/** In this order: what one of them changes, a later one changes back. */
const lines = [
  ...['version', 'help', 'log hello from outside', 'config mem', 'config ubd0', 'config ubd7'],
  ...['config ubd99', 'config', 'config eth0', 'config con', 'config con1', 'remove', 'remove ubd9'],
  ...['config ubd5=extra.img', 'config ubd5', 'config ubd5=extra.img', 'remove ubd5', 'config ubd5'],
  ...['proc version', 'proc cmdline', 'proc filesystems', 'proc nope', 'sysrq', 'sysrq s', 'sysrq h'],
  ...['stack', 'stack 99999', 'dance', 'umlfs', 'stop', 'stop', 'version', 'config ubd0', 'go', 'go'],
  // `cad` is for init to act upon, which does nothing here.
  ...['cad', 'log -f text', 'switch nowhere', 'mconsole-version'],
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

test('lines from a pipe are answered as by uml_mconsole, a file is logged whole, and a failure among them shows in the exit code', async () => {
  const { guest } = scene;
  const input = `${lines.join('\n')}\nquit\nversion\n`;
  await guest.sh('dmesg -c > /dev/null');
  const our = await ours([guest.socketPath], input);
  const log = await guest.sh('dmesg');
  expect(log).toContain('first of the file');
  expect(log.match(/a line/g)).toHaveLength(100);
  expect(log).toContain('last of the file');
  // Its last line is ended.
  expect(await guest.mconsole('sysrq s')).not.toContain('last of the file');

  const { stdout } = await theirs([guest.socketPath], input);
  // Without a terminal it prints its prompt and the line all the same.
  const prompt = `(${guest.socketPath.slice(0, 11)}) `;
  const their = stdout.split(prompt).slice(1, lines.length + 1);
  const expected = lines.map((line, n) => asOurs(line, (their[n] ?? '').slice(line.length + 1)));
  const ourText = our.stdout.replace(/Additional[\s\S]*?without a sync\n/, '');
  expect(withoutKernelWords(ourText)).toBe(withoutKernelWords(expected.join('')));
  expect(our.exitCode).toBe(1);
  expect(await ours([guest.socketPath], 'version\n\n  \ngo\n')).toMatchObject({ exitCode: 1 });
  expect(await ours([guest.socketPath], 'version\n\n\nconfig ubd0')).toMatchObject({ exitCode: 0 });
});

/** What the kernel itself says of them comes into the answer, or into the next one, or into none if the console is busy. */
const withoutKernelWords = (text: string): string =>
  text.replace(/(?:(?:sysrq|open \/proc\/nope): .*\n)+\n/g, '\n');

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

test('what would harm a stopped guest is refused here as well, and with --json each line is one object', async () => {
  const input =
    'stop\nconfig ubd5=extra.img\nremove ubd5\nremoveubd5\nproc kcore\nproc self/../kcore\ngo\ndance\nversion';
  const { json } = await runCli(['--json', 'mconsole', scene.guest.socketPath], { env: env(), input });
  const refused = (why: RegExp) => ({ type: 'error', code: 'Usage', message: expect.stringMatching(why) });
  expect(json).toMatchObject([
    { type: 'summary', command: 'stop', text: 'stopped' },
    ...Array(3).fill(refused(/Send `go` first/)),
    ...Array(2).fill(refused(/never ends/)),
    { type: 'summary', command: 'go', text: '' },
    { type: 'error', code: 'CommandRefused' },
    { type: 'summary', command: 'version', text: expect.stringContaining('Linux') },
  ]);
});

/** The console on a terminal, as a person has it. */
function openTerminal(socketPath: string) {
  const command = `exec ${process.execPath} ${cliScript} mconsole ${socketPath}`;
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    ...{ cwd: scene.dir, env: { ...process.env, ...env(), TERM: 'xterm' } },
  });
  let screen = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    screen += text;
  });
  const ended = new Promise<number | null>((done) => child.on('close', done));
  const shown = () => stripVTControlCharacters(screen);
  const times = (pattern: RegExp) => shown().match(new RegExp(pattern, 'g'))?.length ?? 0;
  return {
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

test('on a terminal there are a prompt, completion, a history, Ctrl-C for an answer that does not come, and the guest again after its reboot, which is not the guest of before', async () => {
  const before = await MconsoleClient.open(other.socketPath);
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
    terminal.type('reboot\r');
    await other.waitForConsole(/(test guest is up[\s\S]*){2}/);
    await expect(before.request('version', options)).rejects.toMatchObject({ code: 'GuestSocketDead' });
    expect(await before.isReplaced()).toBe(true);
    terminal.type('config mem\r');
    await terminal.until(/OK \d+/);
    terminal.type('\u0004');
    expect(await terminal.ended).toBe(0);
  } finally {
    process.kill(other.pid, 'SIGCONT');
    before.close();
    terminal.close();
  }
});

test('a command on the command line is done as well: halt, and int, which ends the guest that holds the socket, whatever a pid file says', async () => {
  expect(await ours([other.socketPath, 'halt'])).toMatchObject({ exitCode: 0, stdout: '\n', stderr: '' });
  await waitFor('the other guest to end', () => other.processes().length === 0);
  const { guest } = scene;
  const bystander = spawn('sleep', ['600'], { stdio: 'ignore' });
  try {
    const pid = pidOf(bystander);
    const identity = { pid, startTicks: readProcessStat(pid)?.startTicks ?? 0 };
    await writeFile(guest.socketPath.replace(/mconsole$/, 'pid'), `${pid}\n`);
    const { stdout, exitCode } = await ours([guest.socketPath, 'int']);
    expect({ stdout, exitCode }).toEqual({ stdout: `Sent SIGINT to process ${guest.pid}\n`, exitCode: 0 });
    await waitFor('the guest to end', () => guest.processes().length === 0);
    expect(isAlive(identity)).toBe(true);
    const again = await ours([guest.socketPath, 'int']);
    expect(again).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('no signal was sent') });
  } finally {
    bystander.kill('SIGKILL');
  }
});
