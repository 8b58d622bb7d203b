import * as z from 'zod';
import { alertSchema, hooksSchema } from './alert-fields.js';
import { dashboardField } from './dashboard-fields.js';
import { drillField, guestDrillField } from './drill-fields.js';
import {
  agentField,
  captureField,
  disksField,
  freezeTimeoutField,
  groupField,
  jitterField,
  keepField,
  labelsField,
  largestSnapshotField,
  mconsoleField,
  notifyField,
  pathField,
  pauseBudgetField,
  pauseTargetField,
  rateField,
  requestsField,
  requireField,
  scheduleField,
  settleTimeoutField,
  storeReferenceField,
  timezoneField,
  trackerField,
  userField,
} from './fields.js';
import { storeSchema } from './store-fields.js';
import { verifySchema } from './verify-fields.js';

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
  agent: agentField.exactOptional(),
  capture: captureField.exactOptional(),
  /** null: no limit, whatever `defaults` say. */
  precopyRate: rateField.nullable().exactOptional(),
  precopyTracker: trackerField.exactOptional(),
  pauseTarget: pauseTargetField.exactOptional(),
  keep: keepField.exactOptional(),
  allowSmp: z.boolean().exactOptional(),
  syncTries: z.int().min(1).max(100).exactOptional(),
  settleTimeout: settleTimeoutField.exactOptional(),
  freezeTimeout: freezeTimeoutField.exactOptional(),
  hooks: hooksSchema.exactOptional(),
  requests: requestsField.exactOptional(),
  labels: labelsField.exactOptional(),
};

export const settingsSchema = z.strictObject(settings);

export const guestSchema = z.strictObject({
  mconsole: mconsoleField,
  disks: disksField,
  user: userField.exactOptional(),
  notify: notifyField.exactOptional(),
  notifyOwner: userField.exactOptional(),
  drill: guestDrillField.exactOptional(),
  ...settings,
});

export const controlSchema = z.strictObject({ group: groupField.exactOptional() });

export const configSchema = z.strictObject({
  state: pathField.exactOptional(),
  concurrency: z.int().min(1).max(64).exactOptional(),
  largestSnapshot: largestSnapshotField.exactOptional(),
  control: controlSchema.exactOptional(),
  dashboard: dashboardField.exactOptional(),
  alerts: z.array(alertSchema).max(32).exactOptional(),
  drill: drillField.exactOptional(),
  verify: verifySchema.exactOptional(),
  stores: z.record(z.string(), storeSchema).exactOptional(),
  defaults: settingsSchema.exactOptional(),
  guests: z.record(z.string(), guestSchema).exactOptional(),
});

export type ConfigInput = z.infer<typeof configSchema>;
export type SettingsInput = z.infer<typeof settingsSchema>;
export type GuestInput = z.infer<typeof guestSchema>;
