import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { z } from 'zod';
import { alertSchema, hooksSchema } from '../../src/config/alert-fields.js';
import { dashboardSchema } from '../../src/config/dashboard-fields.js';
import { drillField } from '../../src/config/drill-fields.js';
import { keepField } from '../../src/config/fields.js';
import { loadConfig } from '../../src/config/load-config.js';
import { configSchema, controlSchema, guestSchema, settingsSchema } from '../../src/config/schema.js';
import { directoryStoreSchema, resticStoreSchema, tarStoreSchema } from '../../src/config/store-fields.js';
import { verifySchema } from '../../src/config/verify-fields.js';

const exampleFile = fileURLToPath(new URL('../../config.example.yaml', import.meta.url));

test('the example is a config without problems', async () => {
  const { guests } = await loadConfig(exampleFile);
  expect(guests.debian).toMatchObject({ jitterMs: 300_000, keep: { withinMs: 172_800_000 } });
  const [path, backing] = ['/srv/uml/debian/data.cow', '/srv/uml/base/data.img'];
  expect(guests.debian?.disks[1]).toEqual({ device: 'ubd1', path, backing });
});

test('the example shows every key that a config can have, under a comment that explains it', async () => {
  const lines = (await readFile(exampleFile, 'utf8')).split('\n').map((line) => line.trim());
  const schemas: z.ZodObject[] = [
    ...[configSchema, controlSchema, dashboardSchema, drillField, verifySchema],
    ...[directoryStoreSchema, tarStoreSchema, resticStoreSchema],
    ...[settingsSchema, guestSchema, keepField.in, hooksSchema],
  ];
  const keys = schemas.flatMap((schema) => Object.keys(schema.shape));
  expect(keys).toContain('within');
  const waysOfAlerts = Object.keys(alertSchema.shape);
  expect(waysOfAlerts.filter((way) => !lines.some((line) => ` ${line}`.includes(` ${way}: `)))).toEqual([]);
  const lineOf = (key: string) => lines.findIndex((line) => line.startsWith(`${key}:`));
  expect(keys.filter((key) => lineOf(key) < 0)).toEqual([]);

  const explainedByTheOneBefore = ['guests', 'hourly', 'daily', 'monthly', 'yearly'];
  const unexplained = keys.filter((key) => !lines[lineOf(key) - 1]?.startsWith('#'));
  expect(unexplained.filter((key) => !explainedByTheOneBefore.includes(key))).toEqual([]);
});
