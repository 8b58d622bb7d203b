import { type ExitCode, exitCodes } from '../exit-codes.js';
import { agentPath, type InitSetup, initSetups, readAgentScript } from '../guest/agent/agent-script.js';
import { installAgent } from '../guest/agent/install-agent.js';
import { emit, printLine, tell } from '../output.js';
import type { Context } from './context.js';

/** `umlsnap agent`: the script for guests on stdout, and how to have it run; or puts it into an unpacked root. */
export async function agentVerb(context: Context, options: { install?: string }): Promise<ExitCode> {
  if (options.install === undefined) {
    await printAgent(context);
    return exitCodes.done;
  }
  const { written, enable } = await installAgent(options.install);
  emit(context.output, {
    type: 'summary',
    kind: 'agent',
    root: options.install,
    written,
    enable: enable.map(({ init, enable: command }) => ({ init, command })),
  });
  const what = written.length === 0 ? 'It was there already.' : `Wrote ${written.join(', ')}.`;
  tell(
    context.output,
    `${what}\n\nIn the guest, as root:\n${enable.map(enableText).join('\n')}\n\n${bootHint}`,
  );
  return exitCodes.done;
}

const bootHint = `Boot the guest with mconsole=notify:PATH, where PATH is the guest's \`notify:\` in the config.`;

const enableText = ({ title, enable }: InitSetup) => `  ${title}:\n    ${enable}`;

/** What is printed can be run as it is: the instructions are comments at its end. */
async function printAgent({ output }: Context): Promise<void> {
  const script = await readAgentScript();
  if (output.json) {
    emit(output, { type: 'agent', path: agentPath, script, inits: initSetups });
    return;
  }
  printLine(`${script}\n${comment(instructions())}`);
}

function instructions(): string {
  const setups = initSetups.map((setup) => {
    const file = setup.file ? `${setup.file.path}:\n\n${indent(setup.file.text)}\n\n` : '';
    return `${setup.title}: ${file}  ${setup.enable}`;
  });
  return [
    `Put this script into the guest as ${agentPath}, mode 0755 (umlsnap agent --install DIR does it for an unpacked`,
    'root), and have it started:',
    '',
    setups.join('\n\n'),
    '',
    'Hooks: executable files in /etc/umlsnap/freeze.d run before a freeze, in the order of their names; one that fails, or',
    'runs for more than UMLSNAP_DEADLINE seconds, calls it off, and the first line that it printed is told. Those in',
    '/etc/umlsnap/thaw.d run afterwards, whatever happened, and perhaps twice. UMLSNAP_JOB is the name of the job on the',
    'host. Those in /etc/umlsnap/drill.d run in a snapshot that is drilled with hooks: true, and all of them must succeed.',
    'Orders are taken from the kernel only; whoever is root in the guest can answer in its place.',
    '',
    bootHint,
  ].join('\n');
}

const indent = (text: string) => text.trimEnd().replace(/^(?=.)/gm, '  ');
const comment = (text: string) => text.replace(/^/gm, '# ').replace(/ +$/gm, '');
