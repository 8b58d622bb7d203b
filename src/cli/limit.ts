import { UmlsnapError } from '../errors.js';

/** How many at most, as `--limit` says. @throws Usage */
export function limitOf(text: string): number {
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1) return limit;
  throw new UmlsnapError('Usage', { problem: `--limit ${text}: a whole number from 1 on.` });
}
