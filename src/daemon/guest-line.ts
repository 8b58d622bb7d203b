import { type RequestName, requestNamed } from '../config/request-names.js';
import { type ControlCommand, numberOf, type Request } from '../control/request.js';
import { printableLine } from '../mconsole/printable.js';

/** A line that a guest wrote to its /proc/mconsole, read. Every word of it is the guest's. */
export type GuestLine =
  /** Not for the daemon: the agent's, or anything else. */
  | { is: 'other' }
  | { is: 'malformed'; problem: string }
  | { is: 'tooLong' }
  | { is: 'request'; name: RequestName; request: Request & { command: ControlCommand } };

const prefix = 'umlsnap request ';
/** A kernel cuts at 512 bytes without a word: what is near to that may not be what was meant. */
const maxLineBytes = 400;
const largestId = 0x7fffffff;

/**
 * Reads `umlsnap request type=snapshot id=42 label=before-upgrade`. What is asked for is always about the guest that asks,
 * whatever it says: its name comes from the socket that the line came by.
 */
export function parseGuestLine(guest: string, message: string): GuestLine {
  const text = message.replace(/\n$/, '');
  if (!text.startsWith(prefix)) return { is: 'other' };
  if (Buffer.byteLength(text) > maxLineBytes) return { is: 'tooLong' };
  if (text !== printableLine(text)) return malformed('it holds more than one line of plain text');
  const fields = new Map<string, string>();
  for (const word of text.slice(prefix.length).split(' ')) {
    const [, key, value] = /^([a-z]{1,16})=([\x21-\x7e]{1,128})$/.exec(word) ?? [];
    if (key === undefined || value === undefined) return malformed('a word of it is no key=value');
    if (fields.has(key)) return malformed(`it says ${key} twice`);
    fields.set(key, value);
  }
  return requestOf(guest, fields);
}

function requestOf(guest: string, fields: Map<string, string>): GuestLine {
  const name = requestNamed(fields.get('type') ?? '');
  if (!name) return malformed('its type is none');
  const id = numberIn(fields.get('id') ?? '0');
  if (id === undefined) return malformed('its id is none');
  const stray = [...fields.keys()].find((key) => !['type', 'id', ...keysOf[name]].includes(key));
  if (stray !== undefined) return malformed(`a ${name} has no ${stray}`);
  const command = commandOf(name, guest, fields);
  if (!command) return malformed(`it does not say what to ${name}`);
  const request = { id, number: numberOf(name), requester: { from: 'guest', guest } as const, command };
  return { is: 'request', name, request };
}

const keysOf: Record<RequestName, string[]> = {
  snapshot: ['label'],
  verify: ['snapshot'],
  prune: [],
  status: [],
  drill: ['snapshot'],
  cancel: ['of'],
};

function commandOf(
  name: RequestName,
  guest: string,
  fields: Map<string, string>,
): ControlCommand | undefined {
  switch (name) {
    case 'snapshot': {
      const label = fields.get('label');
      return { type: name, guest, options: label === undefined ? {} : { labels: { request: label } } };
    }
    case 'prune':
      return { type: name, guest, dryRun: false };
    case 'status':
      return { type: name, guest };
    case 'verify':
    case 'drill': {
      const snapshot = ownSnapshot(guest, fields.get('snapshot') ?? 'latest');
      if (snapshot === undefined) return undefined;
      return name === 'verify' ? { type: name, snapshot } : { type: name, snapshot };
    }
    case 'cancel': {
      const of = numberIn(fields.get('of') ?? '');
      return of === undefined || of === 0 ? undefined : { type: name, of };
    }
  }
}

/** `latest`, a time, or the whole name of a snapshot of this very guest. */
function ownSnapshot(guest: string, text: string): string | undefined {
  const time = text.startsWith(`${guest}@`) ? text.slice(guest.length + 1) : text;
  return /^(?:latest|\d{8}T\d{6}Z)$/.test(time) ? `${guest}@${time}` : undefined;
}

function numberIn(text: string): number | undefined {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return value <= largestId ? value : undefined;
}

function malformed(problem: string): GuestLine {
  return { is: 'malformed', problem };
}
