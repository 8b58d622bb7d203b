import { posix } from 'node:path';
import { UmlsnapError } from '../errors.js';
import { findConsoleProcess } from '../guest/console-process.js';
import { lookWhetherStopped } from '../guest/stop-probe.js';

/**
 * Refuses by hand what harms a guest for good: files of /proc that never end, and changes of a stopped guest's devices,
 * which let it run in the middle of whatever it was stopped for, and can wedge it (uml-facts, fact 6 and §2). A kernel looks
 * at the first letters of a command only, so that `removeubd0` removes as well.
 * @throws Usage
 */
export async function refuseHarm(socketPath: string, command: string): Promise<void> {
  const file = /^proc\s*(.*)$/s.exec(command)?.[1];
  if (file !== undefined && /^\/(kcore|kmsg|kpage\w+)$/.test(posix.normalize(`/${file.trim()}`))) {
    throw new UmlsnapError('Usage', {
      problem: `\`${command}\` never ends its answer and would block the console.`,
    });
  }
  const changesDevice = /^config.*=/s.test(command) || command.startsWith('remove');
  if (changesDevice && (await isStopped(socketPath))) {
    const problem = `The guest is stopped: \`${command}\` would let it run, and could wedge it. Send \`go\` first.`;
    throw new UmlsnapError('Usage', { problem });
  }
}

async function isStopped(socketPath: string): Promise<boolean> {
  const main = findConsoleProcess(socketPath);
  return main !== undefined && (await lookWhetherStopped(main)) === 'stopped';
}
