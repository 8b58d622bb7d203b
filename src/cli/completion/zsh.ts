import {
  groupsOf,
  type OptionModel,
  optionsAt,
  type ProgramModel,
  type VerbModel,
  verbsAfter,
  type WordKind,
} from './command-model.js';
import { shellQuoted } from './quoting.js';

/** The completion for zsh, by its own `_arguments`: with what each verb and option is for. */
export function zshCompletion(model: ProgramModel): string {
  const cases = [
    ...groupsOf(model).map((group) => groupCase(model, group)),
    ...model.verbs.filter(({ name }) => !name.includes(' ')).map((verb) => verbCase(model, verb, 2)),
  ];
  return `#compdef umlsnap
# zsh completion of umlsnap: umlsnap completion zsh >"\${fpath[1]}/_umlsnap"
_umlsnap_names() {
  local -a names config
  local file=\${opt_args[-c]:-\${opt_args[--config]:-$_umlsnap_config}}
  [[ -n $file ]] && config=(-c \${(Q)file})
  names=("\${(@f)$(umlsnap $config __complete $argv[-1] 2>/dev/null)}")
  compadd "\${(@)argv[1,-2]}" -a names
}
_umlsnap() {
  local curcontext=$curcontext state line _umlsnap_config
  typeset -A opt_args
  _arguments -C \\
${specsOf(model.program.options, 4)} \\
    '1: :->verb' '*:: :->rest'
  _umlsnap_config=\${opt_args[-c]:-$opt_args[--config]}
  case $state in
  verb)
    local -a verbs=(${described(verbsAfter(model, ''))})
    _describe -t verbs verb verbs ;;
  rest)
    case $words[1] in
${cases.join('\n')}
    esac ;;
  esac
}
if [[ $funcstack[1] == _umlsnap ]]; then _umlsnap "$@"; else compdef _umlsnap umlsnap; fi
`;
}

function groupCase(model: ProgramModel, group: string): string {
  const inner = model.verbs
    .filter(({ name }) => name.startsWith(`${group} `))
    .map((verb) => verbCase(model, verb, 4));
  return `    ${group})
      _arguments -C '1: :->verb' '*:: :->rest'
      case $state in
      verb)
        local -a inner=(${described(verbsAfter(model, group))})
        _describe -t verbs verb inner ;;
      rest)
        case $words[1] in
${inner.join('\n')}
        esac ;;
      esac ;;`;
}

function verbCase(model: ProgramModel, verb: VerbModel, depth: number): string {
  const indent = '  '.repeat(depth);
  const words = verb.arguments.map(({ kind, isVariadic }, index) =>
    shellQuoted(`${isVariadic ? '*' : index + 1}: :${actionOf(kind)}`),
  );
  const specs = [
    specsOf(optionsAt(model, verb), 2 * depth + 4),
    ...words.map((word) => `${indent}    ${word}`),
  ];
  return `${indent}${verb.name.split(' ').at(-1)})\n${indent}  _arguments \\\n${specs.join(' \\\n')} ;;`;
}

function described(verbs: { word: string; description: string }[]): string {
  return verbs.map(({ word, description }) => shellQuoted(`${word}:${description}`)).join(' ');
}

function specsOf(options: OptionModel[], spaces: number): string {
  const indent = ' '.repeat(spaces);
  return options.map((option) => indent + specOf(option)).join(' \\\n');
}

/** `'(-c --config)'{-c,--config}'[config file]:file:_files'` */
function specOf({ flags, description, value }: OptionModel): string {
  const text = `[${description.replace(/[\][:\\]/g, '\\$&')}]`;
  const action = value === null ? '' : `:${value.placeholder.replaceAll(':', '\\:')}:${actionOf(value.kind)}`;
  if (flags.length === 1) return shellQuoted(`*${flags[0]}${text}${action}`);
  return `${shellQuoted(`(${flags.join(' ')})`)}{${flags.join(',')}}${shellQuoted(text + action)}`;
}

function actionOf(kind: WordKind): string {
  if (typeof kind === 'object') return `(${kind.words.join(' ')})`;
  if (kind === 'files') return '_files';
  return kind === 'any' ? ' ' : `_umlsnap_names ${kind}`;
}
