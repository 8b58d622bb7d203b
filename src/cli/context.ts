import type { Config } from '../config/config.js';
import { findConfigFile } from '../config/find-config-file.js';
import { isError } from '../errors.js';
import type { Output } from '../output.js';

/** The options that stand before the verb. */
export interface GlobalOptions {
  config?: string;
  json?: boolean;
  quiet?: boolean;
  verbose?: boolean;
}

export interface Context {
  options: GlobalOptions;
  output: Output;
}

export function contextOf(options: GlobalOptions): Context {
  return { options, output: { json: options.json ?? false, quiet: options.quiet ?? false } };
}

/** Loads what reads a config only now: it takes its time, and a shell that completes a word does not need it. @throws ConfigNotFound, ConfigInvalid */
export async function configOf(context: Context): Promise<Config> {
  const { loadConfig } = await import('../config/load-config.js');
  return await loadConfig(await findConfigFile(context.options.config));
}

/** For what works without a config: undefined when none was named and none is there. @throws ConfigNotFound, ConfigInvalid */
export async function configIfAny(context: Context): Promise<Config | undefined> {
  try {
    return await configOf(context);
  } catch (error) {
    if (isError(error, 'ConfigNotFound') && context.options.config === undefined) return undefined;
    throw error;
  }
}

export { guestNamed as guestOf } from '../config/guest-named.js';
