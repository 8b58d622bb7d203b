import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { cliScript, runCli } from '../support/cli.js';
import { runTool } from '../support/run-tool.js';
import { setScene } from '../support/scene.js';

/** Real shells, with the program in their PATH and a TAB where a person would press it. */

const scene = setScene({ guest: null });
beforeAll(async () => {
  await mkdir(scene.path('bin'));
  await symlink(cliScript, scene.path('bin/umlsnap'));
  for (const time of ['20261121T031500Z', '20261122T031500Z', '.incoming-20261122T031500Z-abcdef']) {
    await mkdir(scene.path('store/debian', time), { recursive: true });
  }
  const guestOf = (name: string) => [name, { mconsole: name, disks: { ubd0: `/srv/${name}.img` } }];
  await scene.configure(Object.fromEntries(['debian', 'builder'].map(guestOf)));
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { exitCode, stdout, stderr } = await runCli(['completion', shell]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    await writeFile(scene.path(`completion.${shell}`), stdout);
  }
});

const cases: [string, string][] = [
  ['umlsnap sn', 'umlsnap snapshot'],
  ['umlsnap snapshot deb', 'umlsnap snapshot debian'],
  ['umlsnap snapshot --req', 'umlsnap snapshot --require'],
  ['umlsnap snapshot --require fro', 'umlsnap snapshot --require frozen'],
  ['umlsnap snapshot --store loc', 'umlsnap snapshot --store local'],
  ['umlsnap verify debian@l', 'umlsnap verify debian@latest'],
  ['umlsnap --json restore debian@20261121', 'umlsnap --json restore debian@20261121T031500Z'],
  ['umlsnap config ch', 'umlsnap config check'],
  ['umlsnap completion fi', 'umlsnap completion fish'],
  ['umlsnap doctor --nag', 'umlsnap doctor --nagios'],
];
/** One of each kind, for shells that take their time to start. */
const someOf = cases.filter(([typed]) => /sn$|deb$|fro$|json|ch$/.test(typed));
const lastWord = (line: string) => line.split(' ').at(-1) ?? '';

/** What bash would put in the place of the word; it breaks words at an `@`, and gets what follows it. */
async function bashOffers(typed: string): Promise<string[]> {
  const script = `source "$1"; COMP_LINE=$2 COMP_POINT=\${#2}; _umlsnap; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const args = ['--norc', '--noprofile', '-c', script, 'bash', scene.path('completion.bash'), typed];
  return await linesOf('bash', args);
}

async function fishOffers(typed: string): Promise<string[]> {
  const args = ['-N', '-c', `source ${scene.dir}/completion.fish; complete -C $argv[1]`, typed];
  return (await linesOf('fish', args)).map((line) => line.split('\t')[0] ?? '');
}

/** Types a line and a TAB into a zsh at a terminal of its own, and then another key that has it print its line. */
async function zshLine(typed: string): Promise<string[]> {
  const inner = [
    'autoload -Uz compinit; compinit -u -d ~/.zcompdump',
    `source ${scene.dir}/completion.zsh; tell() { print -r -- "<<$BUFFER>>"; exit }`,
    `zle -N tell; bindkey "^X" tell; bindkey "^I" complete-word; print rea'dy'`,
  ];
  const script = String.raw`zmodload zsh/zpty; zpty t zsh -f -i
    zpty -w t "$1"; zpty -r -m t seen '*ready*'
    zpty -w -n t "$2"$'\t\x18'; zpty -r -m t seen '*<<*>>*'
    print -r -- "$seen"; zpty -d t`;
  const lines = await linesOf('setsid', ['-w', 'zsh', '-f', '-c', script, 'zsh', inner.join('; '), typed]);
  return [...lines.join('').matchAll(/<<(.*?) *>>/g)].map(([, line = '']) => lastWord(line)).slice(-1);
}

async function linesOf(command: string, args: string[]): Promise<string[]> {
  const { dir, config } = scene;
  const env = [`HOME=${dir}`, `UMLSNAP_CONFIG=${config}`, `PATH=${dir}/bin:${process.env.PATH}`];
  const output = await runTool('env', [...env, 'timeout', '60', command, ...args]);
  return output.toString().split('\n').filter(Boolean);
}

describe('a TAB in bash', () => {
  test.each(cases)('makes of %s', async (typed, wanted) => {
    const [, beforeBreak = ''] = /^(.*@)?/.exec(lastWord(typed)) ?? [];
    expect((await bashOffers(typed)).map((word) => beforeBreak + word)).toEqual([lastWord(wanted)]);
  });

  test('offers every verb where none stands yet, and nothing that is hidden, and asks the config that stands on the line', async () => {
    const verbs = await bashOffers('umlsnap ');
    expect(verbs).toEqual(expect.arrayContaining(['snapshot', 'daemon', 'doctor', 'config', 'completion']));
    expect(verbs.filter((verb) => verb.startsWith('_'))).toEqual([]);
    expect(await bashOffers(`umlsnap -c ${scene.dir}/gone.yaml snapshot d`)).toEqual([]);
    expect(await bashOffers(`umlsnap -c ${scene.config} snapshot b`)).toEqual(['builder']);
  });
});

test.each(someOf)('a TAB in fish and in zsh makes of %s', async (typed, wanted) => {
  expect(await fishOffers(typed)).toEqual([lastWord(wanted)]);
  expect(await zshLine(typed)).toEqual([lastWord(wanted)]);
});
