import type { Command } from 'commander';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { printLine } from '../output.js';
import { modelOf, type OptionModel, type VerbModel } from './completion/command-model.js';
import { exitText, type ManualSection, manualSections } from './manual-text.js';

/** `umlsnap __manual`: umlsnap(1) in mdoc(7), from commander's own definition and the text beside it. */
export function manualVerb(program: Command): ExitCode {
  printLine(manualOf(program).trimEnd());
  return exitCodes.done;
}

export function manualOf(command: Command): string {
  const { program, verbs } = modelOf(command);
  const { description, commands, before, pluginStatus, after } = manualSections;
  const lines = [
    '.\\" Written by `npm run manual`.',
    '.Dd November 28, 2026',
    '.Dt UMLSNAP 1',
    '.Os',
    '.Sh NAME',
    '.Nm umlsnap',
    '.Nd back up running User-Mode Linux guests',
    '.Sh SYNOPSIS',
    '.Nm',
    '.Op Fl c Ar file',
    '.Op Fl -json',
    '.Op Fl q | Fl v',
    '.Ar command',
    '.Op Ar argument ...',
    '.Sh DESCRIPTION',
    ...paragraphs(description),
    '.Pp',
    'These options may stand before the command or behind it:',
    ...optionList(program.options),
    '.Sh COMMANDS',
    ...paragraphs(commands),
    '.Bl -tag -width Ds',
    ...verbs.flatMap(verbItem),
    '.El',
    ...before.flatMap(sectionLines),
    '.Sh EXIT STATUS',
    '.Bl -tag -width 130 -compact',
    ...(Object.keys(exitText) as (keyof typeof exitText)[]).flatMap((name) => [
      `.It ${exitCodes[name]}`,
      text(exitText[name]),
    ]),
    '.El',
    ...paragraphs(pluginStatus).flatMap((line) => ['.Pp', line]),
    ...after.flatMap(sectionLines),
  ];
  return `${lines.join('\n')}\n`;
}

function sectionLines({ title, items, paragraphs: some }: ManualSection): string[] {
  return [`.Sh ${title}`, ...paragraphs(some), ...(items ? itemList(items) : [])];
}

function verbItem({ name, usage, description, options }: VerbModel): string[] {
  const words = usage.split(' ').filter(Boolean).map(argumentText);
  const own = options.filter(({ flags }) => !flags.includes('--help'));
  return [
    ['.It Cm', text(name), ...words].join(' '),
    text(sentence(description)),
    ...(own.length === 0 ? [] : optionList(own)),
  ];
}

/** `<guest>` is `Ar guest`, `[guest]` is `Op Ar guest`. */
function argumentText(word: string): string {
  const name = text(word.replace(/[<>[\]]/g, '').replace(/\.\.\.$/, ''));
  const argument = word.includes('...') ? `Ar ${name} ...` : `Ar ${name}`;
  return word.startsWith('[') ? `Oo ${argument} Oc` : argument;
}

function optionList(options: OptionModel[]): string[] {
  const items = options.flatMap(({ flags, description, value }) => {
    const names = flags.map((flag) => `Fl ${text(flag.slice(1))}`).join(' , ');
    return [
      `.It ${names}${value === null ? '' : ` Ar ${text(value.placeholder)}`}`,
      text(/[.!?]$/.test(description) ? description : `${description}.`),
    ];
  });
  return ['.Bl -tag -width Ds', ...items, '.El'];
}

function itemList(items: [string, string][]): string[] {
  return [
    '.Bl -tag -width Ds',
    ...items.flatMap(([item, about]) => [`.It ${text(item)}`, text(about)]),
    '.El',
  ];
}

function paragraphs(some: string[]): string[] {
  return some.flatMap((paragraph, index) => (index === 0 ? [text(paragraph)] : ['.Pp', text(paragraph)]));
}

const lineWidth = 78;

/** Plain text for roff, a sentence a line as mdoc wants it: nothing of it is taken for a request or an escape. */
function text(plain: string): string {
  const escaped = plain
    .replaceAll('\\', '\\e')
    .replace(/([.:!?]) (?=[A-Z])/g, '$1\n')
    .replaceAll('-', '\\-')
    .replace(/`([^`]*)`/g, '\\fB$1\\fR')
    .replaceAll('"', '\\(dq')
    .replaceAll("'", '\\(aq');
  return escaped
    .split('\n')
    .map(wrapped)
    .join('\n')
    .replace(/^(?=[.])/gm, '\\&');
}

function wrapped(line: string): string {
  const lines = [''];
  for (const word of line.split(' ')) {
    const last = lines.at(-1) ?? '';
    if (last === '') lines[lines.length - 1] = word;
    else if (last.length + 1 + word.length <= lineWidth) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.join('\n');
}

function sentence(description: string): string {
  const first = description.charAt(0).toUpperCase() + description.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
