import { readFileSync, readlinkSync } from 'node:fs';
import { reasonOf } from '../error-text.js';
import { isError, UmlsnapError } from '../errors.js';
import type { Guest } from '../guest/guest.js';
import { readOfProcess } from '../guest/process-files.js';
import { printable, printableLine } from '../mconsole/printable.js';
import { type ProcessIdentity, readProcessStat } from '../process-identity.js';
import type { Definition } from '../store/manifest.js';
import { kernelSha256 } from './kernel-digest.js';

const maxArgsBytes = 32 * 1024;
const maxArgs = 256;
const maxEnvironmentBytes = 256 * 1024;
const maxTextChars = 4096;
const maxSettingChars = 512;
/** For all answers of its console; MUST NOT be asked for while it is paused. */
const askingLimitMs = 3000;
/** An environment has secrets: these two are what UML goes by (where its umid directory lies, where its memory does). */
const environmentKept = ['HOME', 'TMPDIR'] as const;
const devicesAsked = [16, 8, 8].flatMap((count, kind) =>
  Array.from({ length: count }, (_, number) => `${['ubd', 'eth', 'vec'][kind]}${number}`),
);

/**
 * How the guest is run: by the host's /proc of its main process, and by its console for its devices. Never a failure: what can't be read
 * is left out, with a note. Bounded and printable throughout: the memory that a command line lies in is the guest's kernel's too.
 */
export async function readDefinition(
  guest: Guest,
  main: ProcessIdentity,
  stateDirectory: string,
): Promise<Definition> {
  const definition: Definition = { environment: {}, devices: {}, notes: [] };
  const { notes } = definition;
  const proc = `/proc/${main.pid}`;
  const attempt = async (what: string, read: () => void | Promise<void>) => {
    try {
      await read();
    } catch (error) {
      notes.push(clipped(printableLine(`${what} could not be read: ${reasonOf(error)}`), maxSettingChars));
    }
  };
  await attempt("the kernel's path", () => {
    const path = readlinkSync(`${proc}/exe`);
    definition.kernelPath = textOf(path.replace(/ \(deleted\)$/, ''), "the kernel's path", notes);
    if (path.endsWith(' (deleted)'))
      notes.push('the file of the kernel that runs was replaced or removed since');
  });
  await attempt("the kernel's checksum", async () => {
    definition.kernelSha256 = await kernelSha256(stateDirectory, main.pid);
  });
  await attempt('the command line', () => {
    const bytes = readOfProcess(main.pid, 'cmdline', maxArgsBytes);
    const args = bytes?.toString('utf8').replace(/\0$/, '').split('\0') ?? [];
    if (bytes === null || args.length > maxArgs) throw new RangeError('it is too long');
    definition.args = args.map((arg) => textOf(arg, 'the command line', notes));
  });
  await attempt('the working directory', () => {
    definition.workingDirectory = textOf(readlinkSync(`${proc}/cwd`), 'the working directory', notes);
  });
  await attempt('the user', () => {
    const status = readFileSync(`${proc}/status`, 'utf8');
    definition.user = named('/etc/passwd', idIn(status, 'Uid'));
    definition.group = named('/etc/group', idIn(status, 'Gid'));
  });
  await attempt('the environment', () => {
    const bytes = readOfProcess(main.pid, 'environ', maxEnvironmentBytes);
    if (bytes === null) throw new RangeError('it is too long');
    const entries = bytes.toString('utf8').split('\0');
    for (const name of environmentKept) {
      const entry = entries.find((one) => one.startsWith(`${name}=`));
      if (entry) definition.environment[name] = textOf(entry.slice(name.length + 1), name, notes);
    }
  });
  await attempt('the devices', () => askForDevices(guest, definition));
  // All of it may be of a process that got the number since.
  if (readProcessStat(main.pid)?.startTicks === main.startTicks) return definition;
  return { environment: {}, devices: {}, notes: ['the process of the guest ended while it was looked at'] };
}

async function askForDevices(guest: Guest, { devices }: Definition): Promise<void> {
  const untilMs = performance.now() + askingLimitMs;
  for (const device of devicesAsked) {
    try {
      const setting = await guest.settingOf(device, Math.max(1, untilMs - performance.now()));
      if (setting !== '') devices[device] = clipped(printableLine(setting), maxSettingChars);
    } catch (error) {
      // A kernel without that kind of device, or one that has no such device, says so.
      if (!isError(error, 'CommandRefused')) throw error;
    }
  }
}

/** Effective, the second of the four of proc(5). */
function idIn(status: string, name: 'Uid' | 'Gid'): number {
  const id = new RegExp(`^${name}:\\s+\\d+\\s+(\\d+)`, 'm').exec(status)?.[1];
  if (id === undefined) throw new UmlsnapError('Internal', { problem: `/proc tells no ${name}` });
  return Number(id);
}

function named(file: string, id: number): { id: number; name?: string } {
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  const name = lines.find((fields) => fields[2] === String(id))?.[0];
  return name === undefined ? { id } : { id, name: clipped(printableLine(name), 64) };
}

function textOf(text: string, what: string, notes: string[]): string {
  const kept = clipped(printable(text), maxTextChars);
  const note = `${what} has characters that can't be printed, or too many: they were left out`;
  if ((kept !== text || text.includes('\ufffd')) && !notes.includes(note)) notes.push(note);
  return kept;
}

const clipped = (text: string, chars: number) => text.slice(0, chars);
