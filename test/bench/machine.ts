import { readFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import { runTool, tryTool } from '../support/run-tool.js';
import { guestMemoryMiB } from './stage.js';

/** What the figures were measured on, a line each. */
export async function describeMachine(dir: string): Promise<string[]> {
  const model = cpus()[0]?.model ?? 'unknown processor';
  const isVirtual = /^flags\b.*\bhypervisor\b/m.test(await readFile('/proc/cpuinfo', 'utf8'));
  const source = (await runTool('findmnt', ['-n', '-o', 'SOURCE', '-T', dir])).toString().trim();
  const disk = await linesOf('lsblk', '-n', '-d', '-o', 'SIZE,MODEL', source);
  return [
    `${cpus().length} cores of ${model}${isVirtual ? ' (a virtual machine)' : ''}, ${(totalmem() / 2 ** 30).toFixed(1)} GiB of memory`,
    `Linux ${release()}, Node.js ${process.version}, umlsnap ${(await revision()) ?? 'without its history'}`,
    `disk: ${[source, ...(disk?.split(/\s+/) ?? [])].join(' ')}`,
    `guest: User-Mode Linux ${await guestKernel()}, ${guestMemoryMiB} MiB of memory, one disk (ubd0)`,
  ];
}

export const revision = () => linesOf('git', '-C', import.meta.dirname, 'describe', '--always', '--dirty');
export const guestKernel = async () => (await runTool('linux.uml', ['--version'])).toString().trim();

/** What a tool says; undefined when it fails. */
async function linesOf(command: string, ...args: string[]): Promise<string | undefined> {
  const { exitCode, stdout } = await tryTool(command, args);
  return exitCode === 0 ? stdout.toString().trim() : undefined;
}
