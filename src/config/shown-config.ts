import { stringify } from 'yaml';
import { isPlainObject } from './report.js';

/** What is not for other eyes by its name, but for the name of a file or a command that has it. */
const secretKey = /(?:password|passphrase|token|secret|credential)s?$/i;
const hidden = '(not shown)';

/** A copy of a config for people and programs to read: no secret of it is in there. */
export function withoutSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (typeof value === 'string') return withoutCredentials(value);
  if (!isPlainObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      secretKey.test(key) && inner !== null ? hidden : withoutSecrets(inner),
    ]),
  );
}

/** `rest:https://user:password@host/` is how some programs take both. */
function withoutCredentials(text: string): string {
  return text.replace(/(\b[a-z][a-z0-9+.-]*:\/\/)[^/@\s]+@/gi, `$1${hidden}@`);
}

/** A config as YAML, every default filled in, in the units of the program: milliseconds and bytes. */
export function shownConfig(config: object): string {
  return stringify(withoutSecrets(config), { lineWidth: 110 });
}
