import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterOurDeath } from './death-watch.js';
import { type ToolResult, tryTool } from './run-tool.js';
import { waitFor } from './wait-for.js';

const init = '/lib/systemd/systemd';
const root = resolve(import.meta.dirname, '../..');

/** Undefined where a systemd of its own can be booted; otherwise why not, said aloud. */
export function whyNoSystemd(): string | undefined {
  if (process.getuid?.() !== 0) return 'booting a systemd needs root';
  if (!existsSync(init)) return 'systemd is not installed';
  if (!/\boverlay$/m.test(readFileSync('/proc/filesystems', 'utf8'))) return 'the kernel has no overlayfs';
  return groupsOfSystemd() === undefined ? 'no control groups are mounted that systemd could use' : undefined;
}

/** Where systemd's control groups are mounted, and how a box mounts them for itself. */
function groupsOfSystemd(): { at: string; mount: string } | undefined {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '));
  const named = mounts.find(
    ([, , type, options]) => type === 'cgroup' && /\bname=systemd\b/.test(options ?? ''),
  );
  if (named?.[1] !== undefined) {
    const mount =
      'mount -t tmpfs tmpfs sys/fs/cgroup && mkdir sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd';
    return { at: named[1], mount };
  }
  const unified = mounts.find(([, , type]) => type === 'cgroup2')?.[1];
  return unified === undefined ? undefined : { at: unified, mount: 'mount -t cgroup2 cgroup sys/fs/cgroup' };
}

/**
 * A systemd of its own, as the first process of its own namespaces, on this machine's files with a layer of memory over them:
 * it writes nothing that anybody else sees, and starts no unit but what it is given. Its network is the machine's.
 */
export class SystemdBox {
  readonly #child: ChildProcess;
  readonly #groups: string;
  #pid = 0;

  private constructor(child: ChildProcess, groups: string) {
    this.#child = child;
    this.#groups = groups;
  }

  /** @param dir of the test's: only a script and mount points come to lie in it */
  static async boot(dir: string): Promise<SystemdBox> {
    const found = groupsOfSystemd();
    if (found === undefined) throw new Error('no control groups for a systemd');
    const groups = join(found.at, `umlsnap-test-${process.pid}`);
    await mkdir(groups);
    afterOurDeath('sleep 2; find "$1" -depth -type d -exec rmdir {} +', [groups]);
    const script = join(dir, 'boot.sh');
    await writeFile(script, bootScript(dir, found.mount));
    const inGroup = `echo $$ > ${groups}/cgroup.procs && exec "$@"`;
    const spaces = 'unshare --pid --fork --kill-child=KILL --mount --uts --ipc --cgroup'.split(' ');
    const child = spawn('sh', ['-c', inGroup, 'sh', ...spaces, 'bash', script], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-4096);
    });
    const box = new SystemdBox(child, groups);
    try {
      await waitFor('systemd', () => box.#isUp(), { limitMs: 60_000, everyMs: 200, found: () => said });
    } catch (error) {
      await box.end();
      throw error;
    }
    return box;
  }

  async #isUp(): Promise<boolean> {
    const { exitCode, signalCode, pid } = this.#child;
    if (exitCode !== null || signalCode !== null) throw new Error('systemd has ended');
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
    this.#pid = Number(children.trim().split(' ')[0]);
    if (
      !this.#pid ||
      !(await readFile(`/proc/${this.#pid}/cmdline`, 'utf8').catch(() => '')).startsWith(init)
    )
      return false;
    const { stdout } = await this.run('systemctl', 'is-system-running');
    return /running|degraded/.test(stdout.toString());
  }

  /** Runs a program beside systemd, outside of any unit's sandbox. */
  async run(...command: [string, ...string[]]): Promise<ToolResult & { text: string }> {
    const [file = '', ...args] = this.command(...command);
    const result = await tryTool(file, args, 120_000);
    return { ...result, text: result.stdout.toString().trim() };
  }

  command(...command: string[]): string[] {
    return ['nsenter', '-t', String(this.#pid), '-p', '-m', '-u', '-i', '-C', '--', ...command];
  }

  /** Kills it, with all that runs in it. */
  async end(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = new Promise((done) => this.#child.once('close', done));
      this.#child.kill('SIGKILL');
      await ended;
    }
    await waitFor('the end of its control groups', () => removeGroups(this.#groups), { everyMs: 100 });
  }
}

async function removeGroups(directory: string): Promise<boolean> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await removeGroups(join(directory, entry.name));
  await rmdir(directory).catch(() => {});
  return !existsSync(directory);
}

/** What a container gives its systemd: nothing of the kernel's to set, devices that harm nobody, and none of the host's units. */
function bootScript(dir: string, mountGroups: string): string {
  const devices = ['null', 'zero', 'full', 'random', 'urandom', 'tty'];
  return `set -e
mount --make-rprivate /
cd ${dir}
mkdir memory root
mount -t tmpfs -o size=4G tmpfs memory
mkdir memory/upper memory/work
mount -t overlay overlay -o lowerdir=/,upperdir=${dir}/memory/upper,workdir=${dir}/memory/work root
cd root
mkdir -p .${root} && mount --bind ${root} .${root} && mount -o remount,bind,ro .${root}
mount -t proc proc proc && mount --bind proc/sys proc/sys && mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
! [ -d sys/kernel/tracing ] || mount -t tracefs tracefs sys/kernel/tracing || true
${mountGroups}
mount -o remount,ro sys
mount -t tmpfs -o mode=755 tmpfs dev && mkdir dev/shm dev/pts
for device in ${devices.join(' ')}; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mount -t tmpfs -o mode=1777,size=2G tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts && ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=755 tmpfs run
rm -rf etc/systemd/system etc/fstab && mkdir etc/systemd/system
find usr/lib/systemd/system/*.wants -type l ! -name 'systemd-journald*' -delete
printf '[Unit]\\nRequires=sysinit.target\\n' > etc/systemd/system/box.target
ln -sf ${process.execPath} usr/local/bin/node
ln -sf ${root}/dist/src/cli/main.js usr/local/bin/umlsnap
mkdir old && pivot_root . old && umount -l /old
export container=other
exec ${init} --system --unit=box.target --show-status=no
`;
}
