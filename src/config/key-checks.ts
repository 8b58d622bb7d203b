import { entriesOf, isPlainObject, type Report } from './report.js';

/**
 * The names that people choose in the config. They are checked on the raw file and not by the schema, which would not
 * look at what stands under a bad name: a config shows all of its problems at once.
 */
export function checkKeys(raw: Record<string, unknown>, report: Report): void {
  for (const section of ['stores', 'guests']) checkEach(raw[section], [section], problemOfName, report);
  checkSettingKeys(raw.defaults, ['defaults'], report);
  for (const [name, guest] of entriesOf(raw.guests)) {
    checkSettingKeys(guest, ['guests', name], report);
    if (isPlainObject(guest)) checkEach(guest.disks, ['guests', name, 'disks'], problemOfDevice, report);
  }
}

/** What the names are made of that people choose: also for editors, see json-schema.ts. */
export const keyPatterns = {
  name: /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/,
  device: /^ubd(?:[0-9]|1[0-5])$/,
  label: /^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/,
};

/** Names of guests and stores become directory names, and stand before the `@` of a snapshot. */
export function problemOfName(name: string): string | null {
  if (name === 'latest') return 'is a reserved word, as in guest@latest';
  return keyPatterns.name.test(name)
    ? null
    : 'must be a name: a letter or digit, then letters, digits, _ or -, 63 at most';
}

function problemOfDevice(device: string): string | null {
  return keyPatterns.device.test(device) ? null : 'must be a device from ubd0 to ubd15';
}

function problemOfLabel(label: string): string | null {
  return keyPatterns.label.test(label)
    ? null
    : 'must be a label: a letter or digit, then letters, digits, . _ / or -, 63 at most';
}

function checkSettingKeys(settings: unknown, path: string[], report: Report): void {
  if (isPlainObject(settings)) checkEach(settings.labels, [...path, 'labels'], problemOfLabel, report);
}

function checkEach(
  value: unknown,
  path: string[],
  problemOfKey: (key: string) => string | null,
  report: Report,
): void {
  for (const [key] of entriesOf(value)) {
    const problem = problemOfKey(key);
    if (problem !== null) report([...path, key], problem, 'key');
  }
}
