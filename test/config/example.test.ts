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
  expect(guests.debian?.disks[1]).toEqual({
    device: 'ubd1',
    path: '/srv/uml/debian/data.cow',
    backing: '/srv/uml/base/data.img',
  });
});

test('the example shows every key that a config can have, under a comment that explains it', async () => {
  const lines = (await readFile(exampleFile, 'utf8')).split('\n');
  const stores = [directoryStoreSchema, tarStoreSchema, resticStoreSchema];
  const ofGuests = [settingsSchema, guestSchema, keepField.in, hooksSchema];
  const schemas = [
    configSchema,
    controlSchema,
    dashboardSchema,
    drillField,
    verifySchema,
    ...stores,
    ...ofGuests,
  ];
  const keys = schemas.flatMap((schema: z.ZodObject) => Object.keys(schema.shape));
  const waysOfAlerts = Object.keys(alertSchema.shape).filter(
    (way) => !lines.some((line) => line.includes(` ${way}: `)),
  );
  expect(waysOfAlerts).toEqual([]);
  expect(keys).toContain('within');
  const missing = new Set(keys.filter((key) => !lines.some((line) => line.trim().startsWith(`${key}:`))));
  expect([...missing]).toEqual([]);

  const explainedByTheOneBefore = ['guests', 'hourly', 'daily', 'monthly', 'yearly'];
  const unexplained = keys.filter((key) => {
    const first = lines.findIndex((line) => line.trim().startsWith(`${key}:`));
    return !lines[first - 1]?.trim().startsWith('#') && !explainedByTheOneBefore.includes(key);
  });
  expect(unexplained).toEqual([]);
});
