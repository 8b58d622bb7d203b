import { lstat, readlink, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { errnoOf } from '../errors.js';
import { isTrusted, othersMayRename } from '../path/trust.js';
import type { Config, FollowedLink, GuestConfig, StoreConfig } from './config.js';

/** As the kernel bounds it. */
const maxLinks = 40;

/**
 * The config with the links on its paths resolved that only an administrator can have made: root's or our own, in a directory where nobody
 * else can put one, and so all the way to it. Any other link stays in the path, which is then refused by whoever walks it.
 */
export async function followLinks(config: Config): Promise<Config> {
  const links: FollowedLink[] = [];
  const known = new Map<string, Promise<string>>();
  const follow = (path: string): Promise<string> => {
    const following = known.get(path) ?? followPath(path);
    known.set(path, following);
    return following;
  };
  const told = async (path: string): Promise<string> => {
    const real = await follow(path);
    if (real !== resolve(path) && !links.some(({ from }) => from === path))
      links.push({ from: path, to: real });
    return real;
  };
  // Nothing is there yet, or a socket that has to be the path's own.
  const inDirectory = async (path: string) => {
    const directory = await told(dirname(path));
    return directory === dirname(path) ? path : join(directory, path.slice(dirname(path).length));
  };
  const state = await told(config.state);
  const guests: Config['guests'] = Object.create(null);
  for (const guest of Object.values(config.guests)) {
    const { mconsole, notify } = guest;
    const disks: GuestConfig['disks'] = [];
    for (const { device, path, backing } of guest.disks)
      disks.push({
        device,
        path: await told(path),
        ...(backing !== undefined && { backing: await told(backing) }),
      });
    const sockets = {
      mconsole: mconsole.startsWith('/') ? await inDirectory(mconsole) : mconsole,
      notify: await inDirectory(notify),
    };
    guests[guest.name] = { ...guest, disks, ...sockets };
  }
  const stores: Config['stores'] = Object.create(null);
  for (const store of Object.values(config.stores)) stores[store.name] = await followOfStore(store, told);
  const drill = { ...config.drill, scratch: await told(config.drill.scratch) };
  const scratch = config.verify.scratch === null ? null : await told(config.verify.scratch);
  return { ...config, state, guests, stores, drill, verify: { ...config.verify, scratch }, links };
}

async function followOfStore(
  store: StoreConfig,
  told: (path: string) => Promise<string>,
): Promise<StoreConfig> {
  switch (store.type) {
    case 'directory':
      return { ...store, path: await told(store.path) };
    case 'tar':
      return { ...store, path: await told(store.path), staging: await told(store.staging) };
    case 'restic':
      return { ...store, staging: await told(store.staging) };
  }
}

/** An absolute path without the links that may be followed; what is missing of it stays as it is. */
export async function followPath(path: string): Promise<string> {
  let at = '/';
  let rest = path.split('/').filter((name) => name !== '');
  for (let links = 0; rest.length > 0; ) {
    const [name = '', ...others] = rest;
    const here = join(at, name);
    const found = await lstat(here, { bigint: true }).catch((error: unknown) => {
      if (errnoOf(error) !== undefined) return null;
      throw error;
    });
    if (found?.isSymbolicLink() && isTrusted(found.uid) && links < maxLinks && (await isClosed(at))) {
      links += 1;
      const target = resolve(at, await readlink(here));
      rest = [...target.split('/').filter((one) => one !== ''), ...others];
      at = '/';
    } else if (found?.isDirectory()) {
      at = here;
      rest = others;
    } else return join(here, ...others);
  }
  return at;
}

/** Whether nobody but root and us can make a link there, nor lead its path elsewhere. */
async function isClosed(directory: string): Promise<boolean> {
  const found = await stat(directory, { bigint: true });
  if (!isTrusted(found.uid) || othersMayRename(found)) return false;
  return directory === '/' || (await isClosed(dirname(directory)));
}
