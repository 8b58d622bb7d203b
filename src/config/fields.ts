import { posix } from 'node:path';
import * as z from 'zod';
import type { CaptureChoice, GuestConfig, TrackerChoice } from './config.js';
import { isTimezone, problemOfCronExpression } from './cron-expression.js';
import { formatDuration, parseDuration } from './duration.js';
import { requestNames } from './request-names.js';
import { formatRate, formatSize, parseRate, parseSize } from './size.js';

/**
 * The values that stand in the config, each with what makes it a good one and its unit. What a transform takes can't be seen
 * from outside: `meta` says it to editors, by the JSON Schema of the config.
 */

const minuteMs = 60_000;
const dayMs = 86_400_000;

/** An absolute path, without double slashes, dots and a slash at its end. */
export const pathField = z
  .string()
  .startsWith('/', 'must be an absolute path')
  .regex(/^\P{Cc}*$/u, 'must not contain control characters')
  .transform((path) => posix.join('/', path).replace(/(?<=.)\/$/, ''));

/** uml-facts §4: a guest's command line can't carry these in the name of a disk's file. */
const diskPathField = pathField.refine(
  (path) => !/[,:]/.test(path),
  'must not contain , or :, which UML takes for separators',
);

/** uml-facts §6: a umid has 63 characters at most, a socket's path 107 bytes. */
export const mconsoleField = z.string().transform((value, context) => {
  if (value.startsWith('/')) {
    if (Buffer.byteLength(value) <= 107) return value;
    return refuse(context, 'is longer than the 107 bytes that a socket path can have');
  }
  if (/^[^/\s\p{Cc}]{1,63}$/u.test(value) && value !== '.' && value !== '..') return value;
  return refuse(
    context,
    'must be a umid (63 characters at most, no spaces) or the absolute path of a socket',
  );
});

export const scheduleField = z.string().superRefine((expression, context) => {
  const problem = problemOfCronExpression(expression);
  if (problem !== null) context.addIssue(problem);
});

export const timezoneField = z
  .string()
  .refine(isTimezone, 'is no time zone that this system knows, such as Europe/Rome');

export const captureField = oneOfField<CaptureChoice>(['auto', 'reflink', 'precopy', 'copy']);
export const trackerField = oneOfField<TrackerChoice>(['auto', 'traced', 'compared']);

export const requireField = oneOfField<GuestConfig['require']>(['frozen', 'synced', 'crash']);
export const agentField = oneOfField<GuestConfig['agent']>(['auto', 'off']);

/** As for a guest's console; a guest's command line ends a word at a blank. */
export const notifyField = pathField.refine(
  (path) => Buffer.byteLength(path) <= 107 && !/\s/.test(path),
  'must have 107 bytes at most, as a socket path, and no spaces',
);

/** What a guest may ask the daemon for, by the names of requests. */
export const requestsField = z.array(z.enum(requestNames, `must be one of ${requestNames.join(', ')}`));

/** Becomes a name in /etc/group. */
export const groupField = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?$/, 'must be the name of a group');

/** Becomes a name in /etc/passwd. */
export const userField = z.string().regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?$/, 'must be the name of a user');

/** A name, or a list of names: the first is captured into. */
export const storeReferenceField = z.unknown().transform((value, context): [string, ...string[]] => {
  const [first, ...others] = Array.isArray(value) ? value : [value];
  if (typeof first !== 'string' || !others.every((other) => typeof other === 'string')) {
    return refuse(context, 'must be the name of a store, or a list of names');
  }
  const twice = others.find((other, index) => other === first || others.indexOf(other) !== index);
  if (twice === undefined) return [first, ...others];
  return refuse(context, `names the store "${twice}" twice`);
});

export const pauseBudgetField = durationField(1, dayMs);
export const jitterField = durationField(0, dayMs);
export const pauseTargetField = durationField(1, minuteMs);
export const settleTimeoutField = durationField(0, 10 * minuteMs);
export const freezeTimeoutField = durationField(1000, 60 * minuteMs);

const keepCount = z
  .int()
  .min(1, 'must be 1 or more: leave the key out to keep none by this rule')
  .max(100_000);

/** Like restic's keep rules; `withinMs` is written `within`. */
export const keepField = z
  .strictObject({
    last: keepCount.exactOptional(),
    hourly: keepCount.exactOptional(),
    daily: keepCount.exactOptional(),
    weekly: keepCount.exactOptional(),
    monthly: keepCount.exactOptional(),
    yearly: keepCount.exactOptional(),
    within: durationField(1000, 36_525 * dayMs).exactOptional(),
  })
  .transform(({ within, ...counts }) => ({
    ...counts,
    ...(within === undefined ? {} : { withinMs: within }),
  }));

/** Its keys are held against `key-checks.ts`. */
export const labelsField = z.record(
  z.string(),
  z
    .string()
    .max(256, 'must have 256 characters at most')
    .regex(/^\P{Cc}*$/u, 'must not contain control characters'),
);

/** `PATH` for a raw disk, `{ path, backing }` for a COW one. */
const diskField = z.preprocess(
  (value) => (typeof value === 'string' ? { path: value } : value),
  z.strictObject(
    { path: diskPathField, backing: diskPathField.exactOptional() },
    {
      error: ({ code }) =>
        code === 'invalid_type' ? 'must be a path, or { path, backing } for COW' : undefined,
    },
  ),
);

/** Its keys are held against `key-checks.ts`. */
export const disksField = z
  .record(z.string(), diskField)
  .refine((disks) => Object.keys(disks).length > 0, 'needs at least one disk, such as ubd0');

/** Slower, and a disk takes days; what is copied at once is then seconds apart. */
const lowestBytesPerSecond = 64 * 1024;

const rateInput = z.string().meta({ pattern: String.raw`^\d+(\.\d+)?(B|[kKMGT]B|[KMGT]iB)/s$` });

export const rateField = rateInput.transform((value, context): number => {
  const bytesPerSecond = parseRate(value);
  if (bytesPerSecond === null) return refuse(context, 'must be a rate with its unit, such as 50MiB/s');
  if (bytesPerSecond >= lowestBytesPerSecond) return bytesPerSecond;
  return refuse(context, `must be ${formatRate(lowestBytesPerSecond)} or more`);
});

const sizeInput = z.string().meta({ pattern: String.raw`^\d+(\.\d+)?(B|[kKMGT]B|[KMGT]iB)$` });
const lowestLargestBytes = 2 ** 20;

export const largestSnapshotField = sizeInput.transform((value, context): number => {
  const sizeBytes = parseSize(value);
  if (sizeBytes === null) return refuse(context, 'must be a size with its unit, such as 4TiB');
  if (sizeBytes >= lowestLargestBytes) return sizeBytes;
  return refuse(context, `must be ${formatSize(lowestLargestBytes)} or more`);
});

function oneOfField<T extends string>(known: T[]) {
  const input = z.string().meta({ enum: known });
  return input.transform((value, context): T => {
    const found = known.find((one) => one === value);
    return found ?? refuse(context, `must be one of ${known.join(', ')}`);
  });
}

export function durationField(minMs: number, maxMs: number) {
  const pattern = String.raw`^(\d+(\.\d+)?(ms|[wdhms]))+$`;
  const input = z.unknown().meta({ anyOf: [{ type: 'string', pattern }, { const: 0 }] });
  return input.transform((value, context): number => {
    const durationMs = value === 0 ? 0 : typeof value === 'string' ? parseDuration(value) : null;
    if (durationMs === null) {
      return refuse(context, 'must be a duration with its unit, such as 250ms, 5s, 10m, 1h, 1d, 2w');
    }
    if (durationMs < minMs || durationMs > maxMs) {
      return refuse(context, `must lie between ${formatDuration(minMs)} and ${formatDuration(maxMs)}`);
    }
    return durationMs;
  });
}

export function refuse(context: z.RefinementCtx, message: string): never {
  context.addIssue(message);
  return z.NEVER;
}
