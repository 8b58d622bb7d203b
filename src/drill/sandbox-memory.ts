import { readdir, readFile, readlink } from 'node:fs/promises';
import { goneOrForbidden } from '../process-identity.js';

/**
 * The private memory of all processes of the box whose first process is `pid`, in bytes: what the bound on each of them does not
 * bound. The guest's own memory is shared, and bounded by its file system. Processes that we may not look at count nothing.
 */
export async function privateBytesOfSandbox(pid: number): Promise<number> {
  const ours = await namespaceOf(pid);
  if (ours === null) return 0;
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const sizes = await Promise.all(
    pids.map(async (one) => ((await namespaceOf(one)) === ours ? await privateBytes(one) : 0)),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

function namespaceOf(pid: number): Promise<string | null> {
  return readlink(`/proc/${pid}/ns/pid`).catch(goneOrForbidden(null));
}

async function privateBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(goneOrForbidden(''));
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}
