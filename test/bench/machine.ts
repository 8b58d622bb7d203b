import { readFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import { runTool, tryTool } from '../support/run-tool.js';
import { guestMemoryMiB } from './stage.js';

/** What the figures were measured on, a line each. */
export async function describeMachine(dir: string): Promise<string[]> {
  const model = cpus()[0]?.model ?? 'unknown processor';
  const isVirtual = /^flags\b.*\bhypervisor\b/m.test(await readFile('/proc/cpuinfo', 'utf8'));
  const guestKernel = (await runTool('linux.uml', ['--version'])).toString().trim();
  return [
    `${cpus().length} cores of ${model}${isVirtual ? ' (a virtual machine)' : ''}, ${(totalmem() / 2 ** 30).toFixed(1)} GiB of memory`,
    `Linux ${release()}, Node.js ${process.version}, umlsnap ${await revision()}`,
    `disk: ${await describeDisk(dir)}`,
    `guest: User-Mode Linux ${guestKernel}, ${guestMemoryMiB} MiB of memory, one disk (ubd0)`,
  ];
}

async function revision(): Promise<string> {
  const { exitCode, stdout } = await tryTool('git', [
    ...['-C', import.meta.dirname],
    ...['describe', '--always', '--dirty'],
  ]);
  return exitCode === 0 ? stdout.toString().trim() : 'without its history';
}

async function describeDisk(dir: string): Promise<string> {
  const source = (await runTool('findmnt', ['-n', '-o', 'SOURCE', '-T', dir])).toString().trim();
  const { exitCode, stdout } = await tryTool('lsblk', ['-n', '-d', '-o', 'SIZE,MODEL', source]);
  if (exitCode !== 0) return source;
  return [source, ...stdout.toString().trim().split(/\s+/)].join(' ');
}
