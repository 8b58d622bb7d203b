import type { Config } from '../config/config.js';
import { findConfigFile } from '../config/find-config-file.js';
import { loadConfig } from '../config/load-config.js';
import { isError } from '../errors.js';
import type { Output } from './output.js';

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

/** @throws ConfigNotFound, ConfigInvalid */
export async function configOf(context: Context): Promise<Config> {
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
