import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ServiceManager } from '../../src/daemon/service-manager.js';
import { afterOurDeath } from '../support/death-watch.js';
import { setScene } from '../support/scene.js';
import { TestDaemon } from '../support/test-daemon.js';
import { waitFor } from '../support/wait-for.js';

const scene = setScene({ guest: null });

const program = String.raw`
use Socket;
$| = 1;
my $address = shift;
$address =~ s/^@/\0/;
socket(my $ear, AF_UNIX, SOCK_DGRAM, 0) or die $!;
bind($ear, pack_sockaddr_un($address)) or die $!;
print "bound\n";
while (defined recv($ear, my $text, 65536, 0)) { print unpack('H*', $text), "\n" }
`;

/** A service manager's receiver: a real datagram socket, at a path or an abstract name, and what was sent to it. */
class NotifyReceiver {
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];

  private constructor(readonly address: string) {
    const child = spawn('perl', ['-e', program, address], { stdio: ['ignore', 'pipe', 'inherit'] });
    const watch = afterOurDeath('kill -KILL "$1"', [String(child.pid)]);
    child.once('exit', () => watch.cancel());
    createInterface({ input: child.stdout }).on('line', (line) => this.#lines.push(line));
    this.#child = child;
  }

  /** @param address a path, or `@NAME`. By perl, which Debian always has: nothing of Node's can bind an abstract datagram socket. */
  static async bind(address: string): Promise<NotifyReceiver> {
    const receiver = new NotifyReceiver(address);
    await waitFor('a datagram socket to be bound', () => receiver.#lines[0] === 'bound');
    return receiver;
  }

  /** Each datagram as its assignments, in the order in which they came. */
  get received(): Record<string, string>[] {
    const texts = this.#lines.slice(1).map((line) => Buffer.from(line, 'hex').toString());
    return texts.map((text) =>
      Object.fromEntries(text.split('\n').map((line) => line.split(/=(.*)/s).slice(0, 2))),
    );
  }

  /** Waits until so many datagrams have had this assignment. */
  untilTold(name: string, times = 1): Promise<unknown> {
    const isTold = () => this.received.filter((one) => name in one).length >= times;
    return waitFor(`${name} to be told ${times} times`, isTold, { found: () => this.received });
  }

  close(): void {
    this.#child.kill('SIGKILL');
  }
}

async function receiverAt(address: string): Promise<NotifyReceiver> {
  const receiver = await NotifyReceiver.bind(address);
  onTestFinished(() => receiver.close());
  return receiver;
}

const failed = (problem: string) => {
  throw new Error(problem);
};

describe('a service manager is told', () => {
  test.each(['path', 'abstract'])('at its %s address: ready, reloading, stopping', async (kind) => {
    const receiver = await receiverAt(
      kind === 'path' ? scene.path('notify') : `@umlsnap-test-${process.pid}`,
    );
    const manager = new ServiceManager({ NOTIFY_SOCKET: receiver.address }, failed);
    manager.ready('two\nlines');
    manager.reloading();
    manager.stopping('ends');
    await receiver.untilTold('STOPPING');
    expect(receiver.received).toEqual([
      { READY: '1', STATUS: 'two lines' },
      { RELOADING: '1', MONOTONIC_USEC: expect.stringMatching(/^\d+$/), STATUS: 'Reads the config again.' },
      { STOPPING: '1', STATUS: 'ends' },
    ]);
  });

  test('nothing where there is none, and nothing keeps us from working where it can not be reached', () => {
    new ServiceManager({}, failed).ready('nobody hears it');
    const problemsAt = (address: string) => {
      const problems: string[] = [];
      const manager = new ServiceManager({ NOTIFY_SOCKET: address }, (problem) => problems.push(problem));
      manager.ready('a');
      manager.stopping('b');
      return problems;
    };
    expect(problemsAt(scene.path('gone'))).toEqual(['there is no such file or directory']);
    expect(problemsAt(`/${'x'.repeat(200)}`)).toEqual([expect.stringContaining('too long')]);
  });

  test('of no watchdog that is meant for another process', async () => {
    const receiver = await receiverAt(scene.path('other'));
    const env = { NOTIFY_SOCKET: receiver.address, WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' };
    const manager = new ServiceManager(env, failed);
    manager.ready('runs');
    manager.stopping('ends');
    await receiver.untilTold('STOPPING');
    expect(receiver.received.map((one) => Object.keys(one)[0])).toEqual(['READY', 'STOPPING']);
  });
});

test('a daemon that lives feeds a watchdog, which starves when its event loop stands still', async () => {
  const receiver = await receiverAt(scene.path('watched'));
  const env = { NOTIFY_SOCKET: receiver.address, WATCHDOG_USEC: '200000' };
  const daemon = await TestDaemon.start(scene, [], env);
  await receiver.untilTold('READY');
  expect(receiver.received[0]).toMatchObject({ READY: '1', STATUS: 'Nothing has a schedule.' });
  await receiver.untilTold('WATCHDOG', 5);

  daemon.kill('SIGSTOP');
  const feedings = () => receiver.received.filter(({ WATCHDOG }) => WATCHDOG === '1').length;
  // What it had sent before may still be on its way.
  let last = -1;
  const isSettled = () => {
    const before = last;
    last = feedings();
    return last === before;
  };
  await waitFor('the feeding to end', isSettled, { everyMs: 1000 });
  daemon.kill('SIGCONT');

  await daemon.reload();
  await receiver.untilTold('READY', 2);
  const told = receiver.received.filter(({ WATCHDOG }) => WATCHDOG === undefined);
  expect(told.map((one) => Object.keys(one)[0])).toEqual(['READY', 'RELOADING', 'READY']);
  await daemon.end();
  await receiver.untilTold('STOPPING');
});
