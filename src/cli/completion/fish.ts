import { groupsOf, type OptionModel, type ProgramModel, verbsAfter, type WordKind } from './command-model.js';
import { fishQuoted } from './quoting.js';

/** The completion for fish, with what each verb and option is for. */
export function fishCompletion(model: ProgramModel): string {
  const lines = [
    ...verbLines(model, '', '__fish_use_subcommand'),
    ...model.program.options.map((option) => optionLine(option, null)),
    ...groupsOf(model).flatMap((group) => {
      const inner = verbsAfter(model, group).map(({ word }) => word);
      const isOpen = `__fish_seen_subcommand_from ${group}; and not __fish_seen_subcommand_from ${inner.join(' ')}`;
      return verbLines(model, group, isOpen);
    }),
    ...model.verbs.flatMap(({ name, options, arguments: words }) => {
      const condition = name
        .split(' ')
        .map((word) => `__fish_seen_subcommand_from ${word}`)
        .join('; and ');
      const [first] = words;
      return [
        ...options.map((option) => optionLine(option, condition)),
        ...(first ? [`complete -c umlsnap -n ${fishQuoted(condition)}${wordsOf(first.kind)}`] : []),
      ];
    }),
  ];
  return `# fish completion of umlsnap: umlsnap completion fish >~/.config/fish/completions/umlsnap.fish
function __umlsnap_names
    set -l words (commandline -opc)
    set -l config
    for flag in -c --config
        if set -l at (contains -i -- $flag $words)
            set config -c $words[(math $at + 1)]
        end
    end
    umlsnap $config __complete $argv[1] 2>/dev/null
end
complete -c umlsnap -f
${lines.join('\n')}
`;
}

function verbLines(model: ProgramModel, prefix: string, condition: string): string[] {
  return verbsAfter(model, prefix).map(
    ({ word, description }) =>
      `complete -c umlsnap -n ${fishQuoted(condition)} -a ${word} -d ${fishQuoted(description)}`,
  );
}

function optionLine({ flags, description, value }: OptionModel, condition: string | null): string {
  const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  const when = condition === null ? '' : ` -n ${fishQuoted(condition)}`;
  const what = value === null ? '' : ` -r${wordsOf(value.kind)}`;
  return `complete -c umlsnap${when} ${names.join(' ')} -d ${fishQuoted(description)}${what}`;
}

function wordsOf(kind: WordKind): string {
  if (typeof kind === 'object') return ` -x -a ${fishQuoted(kind.words.join(' '))}`;
  if (kind === 'files') return ' -F';
  return kind === 'any' ? ' -x' : ` -x -a ${fishQuoted(`(__umlsnap_names ${kind})`)}`;
}
