import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
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

/**
 * The completion for bash. It splits the line by itself: bash would break names of snapshots at their `@`, and wants only what
 * follows it as an answer.
 */
export function bashCompletion(model: ProgramModel): string {
  const tables = [
    row('', wordsOf(verbsAfter(model, '')), model.program, model.program.options),
    ...groupsOf(model).map((group) =>
      row(group, wordsOf(verbsAfter(model, group)), undefined, model.program.options),
    ),
    ...model.verbs.map((verb) => row(verb.name, [], verb, optionsAt(model, verb))),
  ];
  return `# bash completion of umlsnap: umlsnap completion bash >/etc/bash_completion.d/umlsnap
_umlsnap_table() {
  verbs= options= values= arguments= variadic=
  case $1 in
${tables.join('\n')}
  *) return 1 ;;
  esac
}
${readFileSync(fileURLToPath(new URL('./engine.bash', import.meta.url)), 'utf8')}`;
}

const wordsOf = (verbs: { word: string }[]) => verbs.map(({ word }) => word);

function row(name: string, verbs: string[], verb: VerbModel | undefined, options: OptionModel[]): string {
  const values = options.flatMap(({ flags, value }) =>
    value === null ? [] : flags.map((flag) => `${flag}=${kindText(value.kind)}`),
  );
  const assignments = {
    verbs: verbs.join(' '),
    options: options.flatMap(({ flags }) => flags).join(' '),
    values: ` ${values.join(' ')} `,
    arguments: verb?.arguments.map(({ kind }) => kindText(kind)).join(' ') ?? '',
    variadic: verb?.arguments.at(-1)?.isVariadic ? 'yes' : '',
  };
  const text = Object.entries(assignments).map(([key, value]) => `${key}=${shellQuoted(value)}`);
  return `  ${shellQuoted(name)})\n    ${text.join('\n    ')} ;;`;
}

const kindText = (kind: WordKind) => (typeof kind === 'string' ? kind : `words:${kind.words.join(',')}`);
