import { oneLine, printLine } from '../output.js';
import type { Definition, Manifest } from '../store/manifest.js';
import { shellQuoted } from './completion/quoting.js';

/** `umlsnap show NAME --definition`: how the guest was run, and last the command that runs it so again. */
export function printDefinition({ snapshot, kernel, definition }: Manifest): void {
  if (definition === undefined) {
    printLine(`Snapshot ${snapshot} does not tell how its guest was run: an older umlsnap has taken it.`);
    return;
  }
  const { kernelPath, kernelSha256, workingDirectory, user, group, environment, devices, args, notes } =
    definition;
  const lines: [string, string | undefined][] = [
    ['snapshot', snapshot],
    ['kernel', kernelPath],
    ['version', kernel],
    ['sha256', kernelSha256],
    ['directory', workingDirectory],
    ['user', user && accountText(user)],
    ['group', group && accountText(group)],
    ...Object.entries(environment).map(([name, value]): [string, string] => [
      'environment',
      `${name}=${value}`,
    ]),
    ...(args ?? []).map((arg, index): [string, string] => [index === 0 ? 'arguments' : '', arg]),
    ...Object.entries(devices).map(([device, setting]): [string, string] => [device, setting]),
    ...notes.map((note): [string, string] => ['note', note]),
  ];
  for (const [key, value] of lines) {
    if (value !== undefined) printLine(`${key.padEnd(12)} ${oneLine(value)}`);
  }
  const command = shellCommand(definition);
  printLine('');
  printLine(command ?? 'There is no command to run it again: its command line could not be read.');
}

const accountText = ({ id, name }: { id: number; name?: string | undefined }) =>
  name === undefined ? `${id}` : `${name} (${id})`;

/** For any POSIX shell, whatever is in it; undefined where the kernel or its command line is not known. Pure. */
export function shellCommand(definition: Definition): string | undefined {
  const { kernelPath, args, workingDirectory, environment } = definition;
  if (kernelPath === undefined || args === undefined) return undefined;
  const variables = Object.entries(environment).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${word(value)}`],
  );
  const command = [...asUserOf(definition), ...variables, word(kernelPath), ...args.slice(1).map(word)].join(
    ' ',
  );
  return workingDirectory === undefined ? command : `cd -- ${word(workingDirectory)} && ${command}`;
}

/** Whoever pastes it as root would run the guest as root. Nothing where its user was us. */
function asUserOf({ user, group }: Definition): string[] {
  if (user === undefined || user.id === process.geteuid?.()) return [];
  // Both programs keep the environment, but for what they are told by `env`.
  const become =
    user.name === undefined
      ? `setpriv --reuid=${user.id} --regid=${group?.id ?? user.id} --clear-groups`
      : `runuser -u ${word(user.name)}`;
  return [become, '--', 'env'];
}

/** As one would write it: quotes only where a shell would see more than a word. */
function word(text: string): string {
  return /^[A-Za-z0-9_@%+:,./-][A-Za-z0-9_@%+:,./=-]*$/.test(text) ? text : shellQuoted(text);
}
