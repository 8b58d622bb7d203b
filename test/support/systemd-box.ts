import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rmdir, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { heard } from './heard.js';
import { type ToolResult, tryTool } from './run-tool.js';
import { waitFor } from './wait-for.js';

const init = '/lib/systemd/systemd';
const root = resolve(import.meta.dirname, '../..');
const groupName = 'umlsnap-test-';
/** Said by no other machine than the box. */
const mark = '/etc/umlsnap-test-box';

/** What a machine does not let a box do, although it looked as if: no fault of the box's. */
export class BoxRefused extends Error {}

/** Undefined where a systemd of its own may be booted, as far as can be told without the try; otherwise why not. */
export function whyNoSystemd(): string | undefined {
  if (process.getuid?.() !== 0) return 'booting a systemd needs root';
  if (!existsSync(init)) return 'systemd is not installed';
  if (!/\boverlay$/m.test(readFileSync('/proc/filesystems', 'utf8'))) return 'the kernel has no overlayfs';
  return unifiedGroups() === undefined ? 'no cgroup2 is mounted' : undefined;
}

function unifiedGroups(): string | undefined {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  return mounts.map((line) => line.split(' ')).find(([, , type]) => type === 'cgroup2')?.[1];
}

/**
 * A systemd of its own, as the first process of its own namespaces, on this machine's files with a layer of memory over them.
 * What it writes to files, to control groups and to the network nobody else sees, and it starts no unit but what it is given.
 * Only the tracing of the kernel is everybody's: a backup is to use it.
 */
export class SystemdBox {
  readonly #child: ChildProcess;
  readonly #group: string;
  readonly #said: () => string;
  #pid = 0;

  private constructor(group: string, script: string) {
    this.#group = group;
    const inGroup = `echo $$ > ${group}/cgroup.procs && exec "$@"`;
    const diesWithUs = 'setpriv --pdeathsig KILL --'.split(' ');
    const spaces = 'unshare --pid --fork --kill-child=KILL --mount --uts --ipc --net --cgroup'.split(' ');
    this.#child = spawn('sh', ['-c', inGroup, 'sh', ...diesWithUs, ...spaces, 'bash', script], {
      env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#said = heard(this.#child.stderr);
  }

  /**
   * @param dir of the test's: seen in the box as well, where it can't be written
   * @throws BoxRefused when a mount or a namespace is not allowed, Error when it does not come up
   */
  static async boot(dir: string): Promise<SystemdBox> {
    const at = unifiedGroups() ?? '/sys/fs/cgroup';
    await removeOldGroups(at);
    const script = join(dir, 'boot.sh');
    await writeFile(script, bootScript(dir));
    const box = new SystemdBox(await mkdtemp(join(at, groupName)), script);
    try {
      await waitFor('systemd', () => box.#isUp(), { limitMs: 90_000, everyMs: 200 });
    } catch (error) {
      await box.end();
      const text = `systemd did not boot: ${box.#said()}`;
      throw error instanceof BoxRefused ? new BoxRefused(text) : new Error(text, { cause: error });
    }
    return box;
  }

  async #isUp(): Promise<boolean> {
    const { exitCode, signalCode, pid } = this.#child;
    if (exitCode !== null || signalCode !== null) throw new BoxRefused('it has ended');
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
    this.#pid = Number(children.trim().split(' ')[0]);
    // Before that mark is at its root, it has the host's files.
    if (!this.#pid || !existsSync(this.pathOf(mark))) return false;
    const { stdout } = await this.run('systemctl', 'is-system-running');
    return /running|degraded/.test(stdout.toString());
  }

  /** A file of the box, as the tests can read it. */
  pathOf(path: string): string {
    return `/proc/${this.#pid}/root${path}`;
  }

  /** Runs a program beside systemd, outside of any unit's sandbox. */
  async run(...command: [string, ...string[]]): Promise<ToolResult & { text: string }> {
    const [file = '', ...args] = this.command(...command);
    const result = await tryTool(file, args, 120_000);
    return { ...result, text: result.stdout.toString().trim() };
  }

  command(...command: string[]): string[] {
    if (!existsSync(this.pathOf(mark))) throw new Error('the box is gone');
    return ['nsenter', '-t', String(this.#pid), '-p', '-m', '-u', '-i', '-n', '-C', '--', ...command];
  }

  /** Kills it, with all that runs in it. */
  async end(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = new Promise((done) => this.#child.once('close', done));
      this.#child.kill('SIGKILL');
      await ended;
    }
    await waitFor('the end of its control groups', () => removeGroup(this.#group), { everyMs: 100 });
  }
}

/** Those of boxes that were killed: a group that has processes stays, and so does a new one, which may be about to get some. */
async function removeOldGroups(at: string): Promise<void> {
  for (const name of (await readdir(at)).filter((one) => one.startsWith(groupName))) {
    const made = await stat(join(at, name)).catch(() => undefined);
    if (made && Date.now() - made.mtimeMs > 600_000) await removeGroup(join(at, name));
  }
}

async function removeGroup(directory: string): Promise<boolean> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await removeGroup(join(directory, entry.name));
  await rmdir(directory).catch(() => {});
  return !existsSync(directory);
}

/**
 * What a container gives its systemd: nothing of the kernel's to set, devices that harm nobody, and none of the host's units.
 * One command a line: each that fails MUST end it, before systemd runs on anything of the host's.
 */
function bootScript(dir: string): string {
  const bindReadOnly = (path: string) =>
    `mkdir -p .${path}\nmount --bind ${path} .${path}\nmount -o remount,bind,ro .${path}`;
  return `set -e
mount --make-rprivate /
cd ${dir}
mkdir memory root
mount -t tmpfs -o size=4G tmpfs memory
mkdir memory/upper memory/work
mount -t overlay overlay -o lowerdir=/,upperdir=${dir}/memory/upper,workdir=${dir}/memory/work root
cd root
${bindReadOnly(root)}
${bindReadOnly(dir)}
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
if [ -e proc/sysrq-trigger ]; then mount --bind /dev/null proc/sysrq-trigger; fi
mount -t sysfs sysfs sys
if [ -d sys/kernel/tracing ]; then mount -t tracefs tracefs sys/kernel/tracing; fi
mount -t cgroup2 cgroup sys/fs/cgroup
# Of this mount alone: without the word bind it would be everybody's /sys.
mount -o remount,bind,ro sys
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/shm dev/pts
for device in null zero full random urandom tty; do
  touch dev/$device
  mount --bind /dev/$device dev/$device
done
mount -t tmpfs -o mode=1777,size=2G tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=755 tmpfs run
rm -rf etc/systemd/system etc/fstab
mkdir etc/systemd/system
find usr/lib/systemd/system/*.wants -type l ! -name 'systemd-journald*' -delete
printf '[Unit]\\nRequires=sysinit.target\\n' > etc/systemd/system/box.target
ln -sf ${process.execPath} usr/local/bin/node
ln -sf ${root}/dist/main.js usr/local/bin/umlsnap
mkdir old
pivot_root . old
umount -l /old
touch ${mark}
export container=other
exec setpriv --bounding-set -sys_module,-sys_rawio,-sys_time,-sys_boot -- ${init} --system --unit=box.target --show-status=no
`;
}
