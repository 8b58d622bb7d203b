import { UmlsnapError } from '../errors.js';
import type { Config, GuestConfig } from './config.js';

/** @throws NoSuchGuest */
export function guestNamed(config: Config, name: string): GuestConfig {
  const guest = Object.hasOwn(config.guests, name) ? config.guests[name] : undefined;
  if (!guest) throw new UmlsnapError('NoSuchGuest', { guest: name, known: Object.keys(config.guests) });
  return guest;
}

/** What a store is called in which snapshots wait for an archive: the config's own names have no slash. */
export const stagingSuffix = '/staging';

/** The stores that the config reaches, stagings included: what lies in others, which it had once, is nothing to rely on. */
export function reachableStores({ stores }: Pick<Config, 'stores'>): string[] {
  return Object.keys(stores).flatMap((name) => [name, `${name}${stagingSuffix}`]);
}

/** The stores that a guest's snapshots get to, with its name: the first may be an archive, which is filled as the others are. */
export function storesToFill({ name: guest, store, otherStores }: GuestConfig) {
  return [store, ...otherStores].map((name) => ({ guest, store: name }));
}
