import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { arch } from 'node:process';

/** User and group of whoever shares the host with us. */
export const neighbour = 65_534;

const renameat2Number = arch === 'arm64' ? 276 : 316;
/** Exchanges what each pattern finds with the second path, again and again, as fast as it can. */
const script = `
  my ($pattern, $other) = @ARGV;
  $| = 1; print "swapping\\n";
  for (;;) { syscall(${renameat2Number}, -100, $_, -100, $other, 2) for glob $pattern }
`;

/** Before a command that is to be his; it ends with us. */
export const asNeighbour = [
  ...[`--reuid=${neighbour}`, `--regid=${neighbour}`, '--clear-groups', '--pdeathsig', 'KILL'],
];

/** A program of the neighbour's, while `use` runs: what is at `path`, a pattern, and at `other` change places all the time. */
export async function whileSwapped<T>(path: string, other: string, use: () => Promise<T>): Promise<T> {
  const swapper = spawn('setpriv', [...asNeighbour, 'perl', '-e', script, path, other], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(swapper, 'close');
  try {
    await once(swapper.stdout, 'data');
    return await use();
  } finally {
    swapper.kill('SIGKILL');
    await ended;
  }
}
