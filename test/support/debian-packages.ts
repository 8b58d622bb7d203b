import { runTool, tryTool } from './run-tool.js';
import { needsXstateShim } from './xstate-shim.js';

/** What the tests and the demo need of Debian beside Node. */
const always = ['user-mode-linux', 'uml-utilities', 'busybox-static', 'e2fsprogs', 'xfsprogs', 'strace'];
const forTheShim = ['gcc', 'libc6-dev'];

/** Those of `packages` that are not installed. */
async function missingOf(packages: string[]): Promise<string[]> {
  const { stdout } = await tryTool('dpkg-query', [
    '-W',
    '-f',
    `\${Package} \${db:Status-Status}\n`,
    ...packages,
  ]);
  const installed = new Set(stdout.toString().split('\n'));
  return packages.filter((name) => !installed.has(`${name} installed`));
}

/**
 * Sees to it that the Debian packages are there: as root it installs the missing ones, otherwise it gives their names.
 * What the shim needs is known only once UML itself is installed, hence the second look.
 */
export async function ensureDebianPackages(
  say: (line: string) => void,
  further: string[] = [],
): Promise<{ missing: string[] }> {
  for (const wanted of [
    async () => [...always, ...further],
    async () => ((await needsXstateShim()) ? forTheShim : []),
  ]) {
    const missing = await missingOf(await wanted());
    if (missing.length === 0) continue;
    if (process.getuid?.() !== 0) return { missing };
    say(`installing ${missing.join(' ')}`);
    await install(missing);
  }
  return { missing: [] };
}

async function install(packages: string[]): Promise<void> {
  const limitMs = 15 * 60_000;
  const apt = (...args: string[]) =>
    runTool('env', ['DEBIAN_FRONTEND=noninteractive', 'apt-get', '-qq', ...args], limitMs);
  await apt('update');
  await apt('install', '--yes', '--no-install-recommends', ...packages);
}
