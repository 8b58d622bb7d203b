import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { afterOurDeath } from './death-watch.js';
import { waitFor } from './wait-for.js';

/** A service manager's ear: a real datagram socket, at a path or an abstract name, and what was sent to it. */
export class NotifyReceiver {
  readonly address: string;
  readonly #child: ChildProcess;
  readonly #received: string[] = [];
  #isBound = false;

  private constructor(address: string, child: ChildProcess) {
    this.address = address;
    this.#child = child;
    const watch = afterOurDeath('kill -KILL "$1"', [String(child.pid)]);
    child.once('exit', () => watch.cancel());
    if (!child.stdout) throw new Error('the receiver has no output');
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line === 'bound') this.#isBound = true;
      else this.#received.push(Buffer.from(line, 'hex').toString());
    });
  }

  /** @param address a path, or `@NAME`. By perl, which Debian always has: nothing of Node's can bind an abstract datagram socket. */
  static async bind(address: string): Promise<NotifyReceiver> {
    const child = spawn('perl', ['-e', program, address], { stdio: ['ignore', 'pipe', 'inherit'] });
    const receiver = new NotifyReceiver(address, child);
    await waitFor('a datagram socket to be bound', () => receiver.#isBound);
    return receiver;
  }

  /** Each datagram as its assignments, in the order in which they came. */
  get received(): Record<string, string>[] {
    return this.#received.map((text) =>
      Object.fromEntries(text.split('\n').map((line) => line.split(/=(.*)/s).slice(0, 2))),
    );
  }

  /** Waits until so many datagrams have had this assignment. */
  untilTold(name: string, times = 1): Promise<unknown> {
    const count = () => this.received.filter((one) => name in one).length;
    return waitFor(`${name} to be told ${times} times`, () => count() >= times, {
      found: () => this.received,
    });
  }

  close(): void {
    this.#child.kill('SIGKILL');
  }
}

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
