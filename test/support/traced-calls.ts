import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from './run-tool.js';
import { builtScript } from './script-child.js';

/** What makes a change to names, to what stands beside a file's content, or either of them durable. */
const lastingCalls =
  'fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,fchmod,fchown,utimensat';

/**
 * Runs a script of the tests to its end under strace, all of its threads, and gives those of its calls that succeeded, in the
 * order in which they ended: `fsync FILE`, `rename FROM TO`. Paths are relative to `dir`, and what is random in a
 * name is `*`; `fchmod` and the like stand for the first of several in a row on the same file.
 */
export async function lastingCallsOf(script: URL, args: string[], dir: string): Promise<string[]> {
  const output = join(dir, 'strace.out');
  const strace = ['-f', '--seccomp-bpf', '-y', '-qq', '-o', output, '-e', `trace=${lastingCalls}`];
  await runTool('strace', [...strace, process.execPath, builtScript(script), ...args]);
  return callsIn(await readFile(output, 'utf8'), dir);
}

function callsIn(trace: string, dir: string): string[] {
  const begun = new Map<string, string>();
  const calls: string[] = [];
  for (const line of trace.split('\n')) {
    const [, thread = '', text = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
    // A call during which another thread was seen is told in two parts.
    const beginning = /^(.*) <unfinished \.\.\.>$/.exec(text)?.[1];
    if (beginning !== undefined) begun.set(thread, beginning);
    const whole = text.replace(/^<\.\.\. \w+ resumed>/, () => begun.get(thread) ?? '');
    const [, name, given] = /^(\w+)\((.*)\) += 0$/.exec(whole) ?? [];
    if (name === undefined || given === undefined) continue;
    const isByDescriptor = /^(fsync|fdatasync|fchmod|fchown)$/.test(name) || given.includes(', NULL,');
    // Between two quoted paths stands a comma, in quotes of the one before and of the one after.
    const quoted = () => given.match(/(?<=")[^"]*(?=")/g)?.filter((path) => path.startsWith('/'));
    const paths = (isByDescriptor ? /<([^>]*)>/.exec(given)?.slice(1) : quoted()) ?? [];
    const call = [
      name.replace(/^(rename|link|unlink)at2?$/, '$1'),
      ...paths.map((path) => shortened(path, dir)),
    ];
    if (calls.at(-1) !== call.join(' ') || isByDescriptor) calls.push(call.join(' '));
  }
  return calls;
}

function shortened(path: string, dir: string): string {
  const relative = path === dir ? '.' : path.replace(`${dir}/`, '');
  return relative.replace(/[0-9a-f]{64}/g, 'SHA256').replace(/\b[0-9a-f]{8,16}\b(?!T)/g, '*');
}
