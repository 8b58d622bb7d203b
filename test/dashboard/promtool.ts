import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool, type ToolResult, tryTool } from '../support/run-tool.js';
import { testCacheDir } from '../support/test-cache.js';

/**
 * promtool out of Debian's package of Prometheus, which is fetched and not installed: that would start a server on this host.
 * @param input a file
 * @throws Error when it can't be fetched: what it checks is then not checked, and that is no success
 */
export async function promtool(args: string[], directory: string, input = '/dev/null'): Promise<ToolResult> {
  const script = 'cd "$0" && input=$1 && shift && exec "$@" < "$input"';
  return await tryTool('sh', ['-c', script, directory, input, await findPromtool(), ...args]);
}

async function findPromtool(): Promise<string> {
  if (existsSync('/usr/bin/promtool')) return '/usr/bin/promtool';
  const dir = join(await testCacheDir(), 'promtool');
  const program = join(dir, 'usr/bin/promtool');
  if (existsSync(program)) return program;
  await mkdir(dir, { recursive: true });
  // As root, apt fetches as a user who has no rights here.
  const fetch =
    'cd "$0" && apt-get -qq -o APT::Sandbox::User=root download prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb';
  await runTool('sh', ['-c', `${fetch} | tar -x ./usr/bin/promtool`, dir], 120_000);
  return program;
}
