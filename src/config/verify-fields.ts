import { z } from 'zod';
import { durationField, pathField, rateField, scheduleField, timezoneField, userField } from './fields.js';

const dayMs = 86_400_000;

/** How snapshots are verified: of the house, not of one guest. */
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

/** How snapshots are verified, after defaults are applied. */
export interface VerifyConfig {
  /** node-cron expression; null: by hand only. */
  schedule: string | null;
  /** Of the schedule; IANA name. */
  timezone: string;
  /** Scheduled runs read each snapshot once in this time. */
  withinMs: number;
  /** Limits what is read of the stores; null: no limit. */
  bytesPerSecond: number | null;
  /** Whether the filesystems in the images are checked as well. */
  filesystems: boolean;
  /** Where the private copies of that are made; null: in the store where it has reflinks, in the state directory elsewhere. */
  scratch: string | null;
  /** Whom the checkers run as, where we are root. */
  user: string;
}

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
