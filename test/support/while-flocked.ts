import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { withOpen } from '../image/make-image.js';

const flockAndWait = `
  BEGIN { $^F = 3 } open(my $file, "<&=", 3) or die; flock($file, 6) or die "refused";
  print "held\\n"; close STDOUT; exec(@ARGV) if @ARGV; <STDIN>;
`;

/** Runs `use` while a process of this user, who may read no more than the file, holds a flock on it; as the program that it turns into. */
export async function whileFlocked<T>(
  path: string,
  by: { uid: number; turnsInto?: string[] },
  use: (pid: number) => Promise<T>,
): Promise<T> {
  return await withOpen(path, 'r', async ({ fd }) => {
    const asUser = ['--reuid', `${by.uid}`, '--regid', `${by.uid}`, '--clear-groups'];
    const args = [...asUser, 'perl', '-e', flockAndWait, ...(by.turnsInto ?? [])];
    const holder = spawn('setpriv', args, { stdio: ['pipe', 'pipe', 'inherit', fd] });
    const ended = once(holder, 'exit');
    const { stdout } = holder;
    if (!stdout) throw new Error('setpriv has no output');
    try {
      const [said] = await Promise.race([once(stdout, 'data'), ended]);
      if (String(said) !== 'held\n') throw new Error('the file could not be locked');
      return await use(holder.pid ?? 0);
    } finally {
      holder.kill('SIGKILL');
      await ended;
    }
  });
}
