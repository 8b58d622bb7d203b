import type { Argument, Command, Option } from 'commander';
import { requestNames } from '../../config/request-names.js';

/** The command line as plain data, for whatever describes it: completions of shells, the manual. */
export interface VerbModel {
  /** `snapshot`, `config check`; the program itself is ''. */
  name: string;
  description: string;
  /** `<guest> [words...]` */
  usage: string;
  options: OptionModel[];
  arguments: ArgumentModel[];
}

export interface OptionModel {
  /** `-c`, `--config` */
  flags: string[];
  description: string;
  /** What is written behind it; null: nothing. */
  value: { placeholder: string; kind: WordKind } | null;
}

export interface ArgumentModel {
  kind: WordKind;
  isVariadic: boolean;
}

/** What a word of the command line can be: names that `umlsnap __complete KIND` tells, files, or one of a few. */
export type WordKind = 'guests' | 'snapshots' | 'stores' | 'files' | 'any' | { words: string[] };

export interface ProgramModel {
  program: VerbModel;
  verbs: VerbModel[];
}

/** Reads commander's own definition, so that nothing has to be said twice. Hidden commands are left out. */
export function modelOf(program: Command): ProgramModel {
  return { program: verbOf(program, ''), verbs: verbsBelow(program, '') };
}

/** The options that may stand at this verb: its own, and those of the program. */
export function optionsAt({ program }: ProgramModel, verb: VerbModel): OptionModel[] {
  return [...verb.options, ...program.options];
}

/** The next words of verbs that begin like this: `config` has `check` and `init`. */
export function verbsAfter({ verbs }: ProgramModel, prefix: string): { word: string; description: string }[] {
  const found = new Map<string, string>();
  for (const { name, description } of verbs) {
    if (prefix !== '' && !name.startsWith(`${prefix} `)) continue;
    const rest = prefix === '' ? name : name.slice(prefix.length + 1);
    const [word = '', ...further] = rest.split(' ');
    if (!found.has(word)) found.set(word, further.length === 0 ? description : `${word} …`);
  }
  return [...found].map(([word, description]) => ({ word, description }));
}

/** The first words of verbs of two. */
export function groupsOf({ verbs }: ProgramModel): string[] {
  return [...new Set(verbs.flatMap(({ name }) => (name.includes(' ') ? [name.split(' ')[0] ?? ''] : [])))];
}

function verbsBelow(command: Command, prefix: string): VerbModel[] {
  const visible = command
    .createHelp()
    .visibleCommands(command)
    .filter((inner) => inner.name() !== 'help');
  return visible.flatMap((inner) => {
    const name = `${prefix}${inner.name()}`;
    const below = verbsBelow(inner, `${name} `);
    return below.length > 0 ? below : [verbOf(inner, name)];
  });
}

function verbOf(command: Command, name: string): VerbModel {
  return {
    name,
    description: command.description(),
    usage: command.registeredArguments.map(usageOf).join(' '),
    options: command.createHelp().visibleOptions(command).map(optionOf),
    arguments: command.registeredArguments.map((argument) => ({
      kind: kindOfArgument(argument.name()),
      isVariadic: argument.variadic,
    })),
  };
}

function usageOf(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? '...' : ''}`;
  return argument.required ? `<${name}>` : `[${name}]`;
}

function optionOf(option: Option): OptionModel {
  const placeholder = /<([^>]+)>/.exec(option.flags)?.[1];
  return {
    flags: [option.short, option.long].filter((flag) => flag !== undefined && flag !== null),
    description: option.description,
    value:
      placeholder === undefined ? null : { placeholder, kind: kindOfValue(option.long ?? '', placeholder) },
  };
}

function kindOfArgument(name: string): WordKind {
  const kinds: Record<string, WordKind> = {
    guest: 'guests',
    name: 'snapshots',
    shell: { words: ['bash', 'zsh', 'fish'] },
    settings: { words: ['debug', 'keep', 'delay=', 'type='] },
    words: { words: ['debug', 'nodebug', 'keep', 'nokeep', 'delay=', 'type=', 'request', ...requestNames] },
  };
  return kinds[name] ?? 'any';
}

function kindOfValue(flag: string, placeholder: string): WordKind {
  const kinds: Record<string, WordKind> = {
    file: 'files',
    directory: 'files',
    rootfs: 'files',
    guest: 'guests',
    level: { words: ['frozen', 'synced', 'crash'] },
    method: { words: ['auto', 'reflink', 'precopy', 'copy'] },
  };
  return kinds[placeholder] ?? (flag === '--store' ? 'stores' : 'any');
}
