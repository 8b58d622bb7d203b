import { existsSync, readdirSync } from 'node:fs';

const place = '/sys/kernel/tracing/instances';

/** The trace instances that a process has made and not removed; it may be dead. */
export function traceInstancesOf(pid: number): string[] {
  return existsSync(place) ? readdirSync(place).filter((name) => name.startsWith(`umlsnap-${pid}-`)) : [];
}
