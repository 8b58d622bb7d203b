import { UmlsnapError } from '../errors.js';
import type { Config, GuestConfig } from './config.js';

/** @throws NoSuchGuest */
export function guestNamed(config: Config, name: string): GuestConfig {
  const guest = Object.hasOwn(config.guests, name) ? config.guests[name] : undefined;
  if (!guest) throw new UmlsnapError('NoSuchGuest', { guest: name, known: Object.keys(config.guests) });
  return guest;
}
