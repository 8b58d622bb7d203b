import type { Config, GuestConfig } from '../config/config.js';
import { findConfigFile } from '../config/find-config-file.js';
import { loadConfig } from '../config/load-config.js';
import { UmlsnapError } from '../errors.js';
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

/** @throws NoSuchGuest */
export function guestOf(config: Config, name: string): GuestConfig {
  const guest = Object.hasOwn(config.guests, name) ? config.guests[name] : undefined;
  if (!guest) throw new UmlsnapError('NoSuchGuest', { guest: name, known: Object.keys(config.guests) });
  return guest;
}
