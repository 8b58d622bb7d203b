import { lstatSync } from 'node:fs';
import type { GuestConfig } from '../config/config.js';
import { errnoOf, UmlsnapError } from '../errors.js';
import { findMconsoleSocket } from '../mconsole/socket-lookup.js';
import { findConsoleProcess, type HeldConsole, listHeldConsoles } from './console-process.js';
import { type GuestSighting, lookAtGuest } from './look-at-guest.js';
import { findUmidSockets } from './umid-sockets.js';

/** A guest of this host, in the config or not. */
export interface DiscoveredGuest extends GuestSighting {
  /** Its name in the config, if it is there. */
  guest: string | null;
}

export interface Discovery {
  guests: DiscoveredGuest[];
  /** Sockets that were too many to be looked at. */
  leftOut: number;
}

const limitMs = 3000;
const maxAtOnce = 256;
const maxSockets = 1000;

/**
 * Every UML of this host: whoever listens at a socket called `mconsole`, what lies in the umid directories, and the guests of
 * the config. All are asked at the same time, each for a bounded time: one that does not answer keeps nobody waiting for more.
 */
export async function discoverGuests(configured: readonly GuestConfig[]): Promise<Discovery> {
  const names = await socketsOfConfig(configured);
  const candidates = new Map<string, HeldConsole>();
  const add = (console: HeldConsole) => {
    const key = identityOf(console.socketPath);
    if (key !== undefined && !candidates.has(key)) candidates.set(key, console);
  };
  listHeldConsoles().forEach(add);
  for (const [key, { socketPath }] of names) {
    if (!candidates.has(key)) add({ socketPath, main: findConsoleProcess(socketPath) });
  }
  for (const socketPath of await findUmidSockets()) add({ socketPath, main: undefined });
  // Those of the config first: whoever makes more sockets than we look at MUST NOT hide them.
  const inOrder = [...candidates].sort(([one], [other]) => Number(names.has(other)) - Number(names.has(one)));
  const looks = inOrder.slice(0, maxSockets).map(([key, console]) => async () => {
    const sighting = await lookAtGuest(console.socketPath, console.main, { limitMs, withDisks: true });
    return { ...sighting, guest: names.get(key)?.name ?? null };
  });
  const guests = await runAll(looks);
  guests.sort((a, b) => (a.umid + a.socketPath < b.umid + b.socketPath ? -1 : 1));
  return { guests, leftOut: Math.max(0, candidates.size - maxSockets) };
}

/** By the identity of the socket's file, so that it does not matter how the config spells its path. */
async function socketsOfConfig(
  configured: readonly GuestConfig[],
): Promise<Map<string, { name: string; socketPath: string }>> {
  const names = new Map<string, { name: string; socketPath: string }>();
  for (const { name, mconsole } of configured) {
    const socketPath = await socketOf(mconsole);
    const key = socketPath && identityOf(socketPath);
    if (socketPath && key && !names.has(key)) names.set(key, { name, socketPath });
  }
  return names;
}

async function socketOf(mconsole: string): Promise<string | undefined> {
  try {
    return await findMconsoleSocket(mconsole);
  } catch (error) {
    // A guest of the config that is not there is none of this host's.
    if (error instanceof UmlsnapError) return undefined;
    throw error;
  }
}

function identityOf(socketPath: string): string | undefined {
  try {
    const { dev, ino } = lstatSync(socketPath);
    return `${dev}:${ino}`;
  } catch (error) {
    if (errnoOf(error) !== undefined) return undefined;
    throw error;
  }
}

async function runAll<T>(tasks: (() => Promise<T>)[]): Promise<T[]> {
  const results: T[] = [];
  const left = tasks.values();
  const work = async () => {
    for (const task of left) results.push(await task());
  };
  await Promise.all(Array.from({ length: maxAtOnce }, work));
  return results;
}
