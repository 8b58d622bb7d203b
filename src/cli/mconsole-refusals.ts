import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { UmlsnapError } from '../errors.js';
import { probeStopped } from '../guest/stop-probe.js';
import { readProcessStat } from '../process-identity.js';

/**
 * Refuses by hand what harms a guest for good: files of /proc that never end, and changes of a stopped guest's devices,
 * which let it run in the middle of whatever it was stopped for, and can wedge it (uml-facts, fact 6 and §2).
 * @throws Usage
 */
export async function refuseHarm(socketPath: string, command: string): Promise<void> {
  if (/^proc\s+\/?(kcore|kmsg|kpage\w+)\b/.test(command)) {
    throw new UmlsnapError('Usage', {
      problem: `\`${command}\` never ends its answer and would block the console.`,
    });
  }
  const changesDevice = /^config\s.*=/.test(command) || /^remove\b/.test(command);
  if (changesDevice && (await isStopped(socketPath))) {
    const problem = `The guest is stopped: \`${command}\` would let it run, and could wedge it. Send \`go\` first.`;
    throw new UmlsnapError('Usage', { problem });
  }
}

/** By the pid file beside the socket: a hint, good enough to look at that process, and for nothing more. */
async function isStopped(socketPath: string): Promise<boolean> {
  const text = await readFile(join(dirname(socketPath), 'pid'), 'utf8').catch(() => '');
  const stat = /^\d{1,10}\s*$/.test(text) ? readProcessStat(Number(text)) : undefined;
  return stat !== undefined && probeStopped(stat) === 'stopped';
}
