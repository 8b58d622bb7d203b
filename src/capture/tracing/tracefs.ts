import { existsSync, readFileSync } from 'node:fs';
import { errnoOf } from '../../errors.js';
import { mountTracefs } from './kernel-calls.js';

/** Where it is mounted on nearly every host, and by us. */
export const usualPlace = '/sys/kernel/tracing';

export type Tracefs = { path: string } | { problem: string };

/** Where tracefs is mounted; mounts it at its usual place when it is not and we may. */
export function findTracefs(): Tracefs {
  const mounted = mountedTracefs();
  if (mounted !== undefined) return { path: mounted };
  if (!existsSync(usualPlace)) return { problem: `this kernel has no tracefs (there is no ${usualPlace})` };
  try {
    mountTracefs(usualPlace);
    return { path: usualPlace };
  } catch (error) {
    if (errnoOf(error) === 'ENODEV') return { problem: 'this kernel has no tracefs (CONFIG_TRACING)' };
    const how = `run as root, or mount it: mount -t tracefs tracefs ${usualPlace}`;
    return {
      problem: `tracefs is not mounted and may not be mounted by this user (${errnoOf(error)}): ${how}`,
    };
  }
}

/** Where tracefs is mounted, if it is. */
export function mountedTracefs(): string | undefined {
  // "36 35 0:11 / /sys/kernel/tracing rw,… - tracefs tracefs rw": a space in a path is written \040.
  const places = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter((field) => field[3] === '/' && field[field.indexOf('-') + 1] === 'tracefs')
    .map((field) => (field[4] ?? '').replaceAll('\\040', ' '));
  return places.find((place) => place === usualPlace) ?? places[0];
}
