import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { afterOurDeath } from './death-watch.js';
import { waitFor } from './wait-for.js';

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

/** A service manager's ear: a real datagram socket, at a path or an abstract name, and what was sent to it. */
export class NotifyReceiver {
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
