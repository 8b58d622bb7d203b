import { join } from 'node:path';
import * as z from 'zod';
import type { DrillConfig, DrillSettings } from './drill-config.js';
import { durationField, pathField, refuse, scheduleField, timezoneField } from './fields.js';
import { parseSize } from './size.js';

const minuteMs = 60_000;
const mebibyte = 2 ** 20;

const printableText = (maxLength: number) =>
  z
    .string()
    .max(maxLength, `must have ${maxLength} characters at most`)
    .regex(/^\P{Cc}*$/u, 'must not contain control characters');

const memoryField = z.string().transform((value, context): number => {
  const sizeBytes = parseSize(value);
  if (sizeBytes === null) return refuse(context, 'must be a size with its unit, such as 256MiB');
  if (sizeBytes >= 32 * mebibyte && sizeBytes <= 2 ** 40) return sizeBytes;
  return refuse(context, 'must be between 32MiB and 1TiB');
});

const ofGuests = {
  kernel: pathField.exactOptional(),
  arguments: printableText(1000).exactOptional(),
  memory: memoryField.exactOptional(),
  timeout: durationField(1000, 24 * 60 * minuteMs).exactOptional(),
  hold: durationField(0, 60 * minuteMs).exactOptional(),
  /** null in a guest: nothing. */
  expect: printableText(200)
    .regex(/[^*\s]/, 'must name something to look for')
    .nullable()
    .exactOptional(),
  hooks: z.boolean().exactOptional(),
};

/** `drill:` in a guest. Each key wins by itself over the one of the same name in the `drill:` of the whole config. */
export const guestDrillField = z.strictObject(ofGuests);

/** `drill:` of the whole config. */
export const drillField = z.strictObject({
  ...ofGuests,
  /** Never root, and nobody who has a process: see `sandbox-command.ts`. */
  user: z
    .int()
    .min(1)
    .max(2 ** 32 - 2)
    .exactOptional(),
  scratch: pathField.exactOptional(),
  schedule: scheduleField.nullable().exactOptional(),
  timezone: timezoneField.exactOptional(),
  sample: z.int().min(1).max(1000).exactOptional(),
});

type DrillInput = z.infer<typeof drillField>;
type GuestDrillInput = z.infer<typeof guestDrillField>;

/** In the range that systemd's list of user numbers leaves unused, so that nobody has a process of that number. */
const nobodysNumber = 1_879_050_000;

export function resolveDrill(
  input: DrillInput | undefined,
  guests: Record<string, { drill?: GuestDrillInput }>,
  deps: { state: string; timezone: string },
): DrillConfig {
  const ours = input ?? {};
  const { state, timezone } = deps;
  const byName = Object.entries(guests).map(
    ([name, { drill }]) => [name, settingsOf({ ...ours, ...drill })] as const,
  );
  return {
    user: ours.user ?? nobodysNumber,
    scratch: ours.scratch ?? join(state, 'drill'),
    schedule: ours.schedule ?? null,
    timezone: ours.timezone ?? timezone,
    sample: ours.sample ?? 1,
    others: settingsOf(ours),
    guests: Object.assign(Object.create(null), Object.fromEntries(byName)),
  };
}

function settingsOf(input: GuestDrillInput): DrillSettings {
  return {
    kernel: input.kernel ?? null,
    arguments: (input.arguments ?? 'root=/dev/ubda rw').split(/\s+/).filter(Boolean),
    memoryBytes: input.memory ?? 256 * mebibyte,
    timeoutMs: input.timeout ?? 5 * minuteMs,
    holdMs: input.hold ?? 5000,
    expect: input.expect ?? null,
    hooks: input.hooks ?? false,
  };
}
