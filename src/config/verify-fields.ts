import * as z from 'zod';
import { durationField, pathField, rateField, scheduleField, timezoneField, userField } from './fields.js';
import type { VerifyConfig } from './verify-config.js';

const dayMs = 86_400_000;

/** How snapshots are verified: for all guests, not for one. */
export const verifySchema = z.strictObject({
  /** null: by hand only. */
  schedule: scheduleField.nullable().exactOptional(),
  timezone: timezoneField.exactOptional(),
  within: durationField(60_000, 3660 * dayMs).exactOptional(),
  /** null: no limit. */
  rate: rateField.nullable().exactOptional(),
  filesystems: z.boolean().exactOptional(),
  scratch: pathField.exactOptional(),
  user: userField.exactOptional(),
});

export type VerifyInput = z.infer<typeof verifySchema>;

/** @param timezone of `defaults`, or the system's */
export function resolveVerify(input: VerifyInput | undefined, timezone: string): VerifyConfig {
  return {
    schedule: input?.schedule ?? null,
    timezone: input?.timezone ?? timezone,
    withinMs: input?.within ?? 30 * dayMs,
    bytesPerSecond: input?.rate ?? null,
    filesystems: input?.filesystems ?? true,
    scratch: input?.scratch ?? null,
    user: input?.user ?? 'nobody',
  };
}
