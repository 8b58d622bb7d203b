import { runTool, tryTool } from './run-tool.js';
import { needsXstateShim } from './shims.js';

/** What the tests and the demo need of Debian beside Node. */
const always = [
  ...['user-mode-linux', 'uml-utilities', 'busybox-static', 'e2fsprogs', 'xfsprogs', 'btrfs-progs', 'strace'],
  // rclone serves restic's protocol over the network.
  ...['zstd', 'libarchive-tools', 'restic', 'rclone', 'bubblewrap'],
  // For what docs/disaster.md says.
  'sqlite3',
  // For what is shipped for shells, readers of manuals, and systemd.
  ...['zsh', 'fish', 'mandoc', 'man-db', 'systemd'],
];

/**
 * Sees to it that the Debian packages are there: as root it installs the missing ones.
 * @throws Error with the missing ones when not root
 */
export async function ensureDebianPackages(
  say: (line: string) => void,
  further: string[] = [],
): Promise<void> {
  await ensure(say, [...always, ...further]);
  // Known only once UML itself is installed.
  if (await needsXstateShim()) await ensure(say, ['gcc', 'libc6-dev']);
}

async function ensure(say: (line: string) => void, packages: string[]): Promise<void> {
  const query = ['-W', '-f', `\${Package} \${db:Status-Status}\n`, ...packages];
  const installed = (await tryTool('dpkg-query', query)).stdout.toString().split('\n');
  const missing = packages.filter((name) => !installed.includes(`${name} installed`));
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0)
    throw new Error(`packages are missing; as root: apt-get install ${missing.join(' ')}`);
  say(`installing ${missing.join(' ')}`);
  const apt = (...args: string[]) =>
    runTool('env', ['DEBIAN_FRONTEND=noninteractive', 'apt-get', '-qq', ...args], 15 * 60_000);
  await apt('update');
  await apt('install', '--yes', '--no-install-recommends', ...missing);
}
