import type { GuestConfig } from '../../src/config/config.js';
import { resolveConfig } from '../../src/config/resolve.js';
import { configSchema } from '../../src/config/schema.js';

/** The config of a guest that says no more than it must. */
export function guestConfig(): GuestConfig {
  const guests = { debian: { mconsole: 'debian', disks: { ubd0: '/srv/uml/root.img' } } };
  const stores = { local: { type: 'directory', path: '/srv/umlsnap' } };
  const { debian } = resolveConfig('/config.yaml', configSchema.parse({ stores, guests })).guests;
  if (!debian) throw new Error('the config has lost its guest');
  return debian;
}
