import { z } from 'zod';
import {
  captureField,
  disksField,
  jitterField,
  keepField,
  labelsField,
  mconsoleField,
  pathField,
  pauseBudgetField,
  requireField,
  scheduleField,
  settleTimeoutField,
  storeReferenceField,
  storeTypeField,
  timezoneField,
} from './fields.js';

/** The shape of the config file. Every key is known here; any other is a problem. */

const settings = {
  store: storeReferenceField.exactOptional(),
  /** null: by hand only, whatever `defaults` say. */
  schedule: scheduleField.nullable().exactOptional(),
  timezone: timezoneField.exactOptional(),
  catchUp: z.boolean().exactOptional(),
  jitter: jitterField.exactOptional(),
  pauseBudget: pauseBudgetField.exactOptional(),
  require: requireField.exactOptional(),
  capture: captureField.exactOptional(),
  keep: keepField.exactOptional(),
  allowSmp: z.boolean().exactOptional(),
  syncTries: z.int().min(1).max(100).exactOptional(),
  settleTimeout: settleTimeoutField.exactOptional(),
  labels: labelsField.exactOptional(),
};

export const settingsSchema = z.strictObject(settings);

export const guestSchema = z.strictObject({ mconsole: mconsoleField, disks: disksField, ...settings });

export const storeSchema = z.strictObject({ type: storeTypeField, path: pathField });

export const configSchema = z.strictObject({
  state: pathField.exactOptional(),
  concurrency: z.int().min(1).max(64).exactOptional(),
  stores: z.record(z.string(), storeSchema).exactOptional(),
  defaults: settingsSchema.exactOptional(),
  guests: z.record(z.string(), guestSchema).exactOptional(),
});

export type ConfigInput = z.infer<typeof configSchema>;
export type SettingsInput = z.infer<typeof settingsSchema>;
export type GuestInput = z.infer<typeof guestSchema>;
