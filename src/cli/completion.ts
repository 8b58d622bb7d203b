import type { Command } from 'commander';
import { UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { printLine } from '../output.js';
import { bashCompletion } from './completion/bash.js';
import { modelOf, type ProgramModel } from './completion/command-model.js';
import { fishCompletion } from './completion/fish.js';
import { type NameKind, nameKinds, namesFor } from './completion/names.js';
import { zshCompletion } from './completion/zsh.js';
import type { Context } from './context.js';

const writers: Record<string, (model: ProgramModel) => string> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

/** `umlsnap completion SHELL`: what the shell has to read, to complete umlsnap's command line. */
export function completionVerb(program: Command, shell: string): ExitCode {
  const write = Object.hasOwn(writers, shell) ? writers[shell] : undefined;
  if (!write) {
    const known = Object.keys(writers).join(', ');
    throw new UmlsnapError('Usage', { problem: `completion ${shell}: choose one of ${known}.` });
  }
  printLine(write(modelOf(program)).trimEnd());
  return exitCodes.done;
}

/** `umlsnap __complete KIND`, for the shells: one name a line. */
export async function completeVerb(context: Context, kind: string): Promise<ExitCode> {
  const known: NameKind | undefined = nameKinds.find((one) => one === kind);
  if (!known) return exitCodes.usage;
  for (const name of await namesFor(known, context.options.config)) printLine(name);
  return exitCodes.done;
}
