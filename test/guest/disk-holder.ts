import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { signalIfThere } from '../support/guest-processes.js';
import { pidOf } from '../support/pid-of.js';

/** A process that holds files open as a guest's main process or its I/O helper does. */
export interface DiskHolder {
  readonly pid: number;
  /** 0: it has none. */
  readonly helperPid: number;
  /** Kills it, and the helper that it has started. */
  end(): Promise<void>;
  /** Kills it alone: a helper lives on, as one of a UML before 6.13 does. */
  kill(): Promise<void>;
}

export interface Holding {
  path: string;
  mode: 'r' | 'r+';
  /** With an fcntl lock on all of it, as UML takes it unless its `c` flag is given. */
  lock?: 'read' | 'write';
}

/** Starts a process that holds these files; `withHelper` makes it start a child that holds them as well. */
export async function holdDisks(
  holdings: Holding[],
  { cwd = '/', withHelper = false } = {},
): Promise<DiskHolder> {
  const words = holdings.flatMap(({ path, mode, lock = '' }) => [path, mode === 'r' ? '<' : '+<', lock]);
  const child = spawn('perl', ['-e', program, withHelper ? 'yes' : '', ...words], { cwd });
  const ended = once(child, 'exit');
  const died = ended.then(() => Promise.reject(new Error('the holder of disks ended')));
  const [line] = await Promise.race([once(child.stdout, 'data'), died]);
  const helperPid = Number(line);
  const kill = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  const end = async () => {
    if (helperPid > 0) signalIfThere(helperPid, 'SIGKILL');
    await kill();
  };
  return { pid: pidOf(child), helperPid, kill, end };
}

/** It ends with whoever started it. Its helper, which outlives it, does that by itself if it is forgotten. */
const program = String.raw`
use Fcntl;
my ($withHelper, @held) = shift;
while (my ($path, $mode, $lock) = splice(@ARGV, 0, 3)) {
  open(my $file, $mode, $path) or die "$path: $!";
  push(@held, $file);
  next if $lock eq '';
  # As struct flock is on x86-64: type, whence, start, length (0: to the end), pid.
  my $all = pack('s s x4 q q l x4', $lock eq 'write' ? F_WRLCK : F_RDLCK, 0, 0, 0, 0);
  fcntl($file, F_SETLK, $all) or die "$path is locked";
}
my $helper = $withHelper ? fork() : undef;
if (defined $helper && $helper == 0) { alarm(120); sleep }
$| = 1;
print $helper // 0, "\n";
<STDIN>;
`;
