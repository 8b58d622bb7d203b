import type { z } from 'zod';
import { entriesOf, isPlainObject, type Report } from './report.js';
import { guestSchema, settingsSchema } from './schema.js';
import { checkStores } from './store-fields.js';

/**
 * What no part of the config shows by itself: stores that nobody defined, and things that two guests share. Works on
 * the raw file, field by field, so that a problem elsewhere in a guest hides none of these.
 */
export function checkAcross(raw: Record<string, unknown>, report: Report): void {
  checkStoreReferences(raw, report);
  checkStores(raw, report);
  checkSharedSockets(raw, report);
  checkSharedDisks(raw, report);
  checkAgents(raw, report);
}

function checkStoreReferences(raw: Record<string, unknown>, report: Report): void {
  const known = entriesOf(raw.stores).map(([name]) => name);
  const listOfKnown = known.length === 0 ? 'there is none yet' : `there is ${known.join(', ')}`;
  const checkReference = (settings: unknown, path: string[]) => {
    const stores = fieldOf(settingsSchema.shape.store, settings, 'store') ?? [];
    for (const store of stores.filter((name) => !known.includes(name))) {
      report([...path, 'store'], `names the store "${store}", which is not under stores: ${listOfKnown}`);
    }
  };
  checkReference(raw.defaults, ['defaults']);
  for (const [name, guest] of entriesOf(raw.guests)) {
    checkReference(guest, ['guests', name]);
    const hasStore = [guest, raw.defaults].some(
      (settings) => isPlainObject(settings) && settings.store !== undefined,
    );
    if (hasStore || known.length === 1) continue;
    report(['guests', name], `needs a store, as there are ${known.length} under stores`, 'key');
  }
}

function checkSharedSockets(raw: Record<string, unknown>, report: Report): void {
  const firstByMconsole = new Map<string, string>();
  for (const [name, guest] of entriesOf(raw.guests)) {
    const mconsole = fieldOf(guestSchema.shape.mconsole, guest, 'mconsole');
    if (mconsole === undefined) continue;
    const first = firstByMconsole.get(mconsole);
    if (first === undefined) firstByMconsole.set(mconsole, name);
    else report(['guests', name, 'mconsole'], `is the mconsole of the guest "${first}" as well`);
  }
}

/** A guest that notifies another one's socket could answer in its name; and without an agent nothing is ever frozen. */
function checkAgents(raw: Record<string, unknown>, report: Report): void {
  const firstByNotify = new Map<string, string>();
  for (const [name, guest] of entriesOf(raw.guests)) {
    const notify = fieldOf(guestSchema.shape.notify, guest, 'notify');
    const first = notify === undefined ? undefined : firstByNotify.get(notify);
    if (first !== undefined)
      report(['guests', name, 'notify'], `is the socket of the guest "${first}" as well`);
    else if (notify !== undefined) firstByNotify.set(notify, name);
    const settingOf = (key: 'agent' | 'require') =>
      [guest, raw.defaults]
        .map((settings) => fieldOf(settingsSchema.shape[key], settings, key))
        .find(Boolean);
    if (settingOf('agent') === 'off' && settingOf('require') === 'frozen')
      report(['guests', name], 'requires frozen, and has its agent off: one of them has to go', 'key');
  }
}

/** Backing files may be shared, as nobody writes them; so none may be a disk that a guest does write. */
function checkSharedDisks(raw: Record<string, unknown>, report: Report): void {
  const disks = entriesOf(raw.guests).flatMap(([name, guest]) => disksOf(name, guest));
  const firstByPath = new Map<string, string>();
  for (const { label, path, at } of disks) {
    const first = firstByPath.get(path);
    if (first === undefined) firstByPath.set(path, label);
    else report(at, `is the disk ${first} as well`);
  }
  for (const { backing, at } of disks) {
    const disk = backing === undefined ? undefined : firstByPath.get(backing);
    if (disk !== undefined)
      report([...at, 'backing'], `is the disk ${disk}, which is written: it can't be a backing file`);
  }
}

function disksOf(
  guestName: string,
  guest: unknown,
): { label: string; path: string; backing: string | undefined; at: string[] }[] {
  return entriesOf(isPlainObject(guest) ? guest.disks : undefined).flatMap(([device, disk]) => {
    const parsed = guestSchema.shape.disks.safeParse({ [device]: disk });
    const { path, backing } = (parsed.success ? parsed.data[device] : undefined) ?? {};
    const at = ['guests', guestName, 'disks', device];
    return path === undefined ? [] : [{ label: `${device} of the guest "${guestName}"`, path, backing, at }];
  });
}

/** The value of a field where it is sound by itself; else the schema reports it. */
function fieldOf<T extends z.ZodType>(schema: T, owner: unknown, key: string): z.infer<T> | undefined {
  if (!isPlainObject(owner) || owner[key] === undefined) return undefined;
  const parsed = schema.safeParse(owner[key]);
  return parsed.success ? parsed.data : undefined;
}
