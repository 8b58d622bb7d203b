/** Takes one problem of the config: at this path, at the value there or at the key itself. */
export type Report = (path: PropertyKey[], message: string, at?: 'value' | 'key') => void;

/** True for what YAML calls a map. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The entries of a map; nothing for anything else, which the schema reports. */
export function entriesOf(value: unknown): [string, unknown][] {
  return isPlainObject(value) ? Object.entries(value) : [];
}
