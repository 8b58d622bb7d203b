import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import Ajv from 'ajv/dist/2020.js';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { configJsonSchema } from '../../src/config/json-schema.js';
import { loadConfig } from '../../src/config/load-config.js';

const root = resolve(import.meta.dirname, '../..');
const exampleFile = join(root, 'config.example.yaml');
const example = await readFile(exampleFile, 'utf8');
const shipped = JSON.parse(await readFile(join(root, 'docs/config.schema.json'), 'utf8'));
const isValid = new Ajv.Ajv2020({ strict: false }).compile(shipped);

test('the shipped schema is that of this config: npm run schema writes it anew', () => {
  expect(shipped).toEqual(JSON.parse(JSON.stringify(configJsonSchema(example))));
});

test('the example is valid, as is a config of nothing, and names the schema in its first line, where editors look', () => {
  expect(isValid(parse(example)), JSON.stringify(isValid.errors)).toBe(true);
  expect(isValid({})).toBe(true);
  expect(example.split('\n')[0]).toBe('# yaml-language-server: $schema=docs/config.schema.json');
});

test('the example is a config without problems', async () => {
  const { guests } = await loadConfig(exampleFile);
  expect(guests.debian).toMatchObject({ jitterMs: 300_000, keep: { withinMs: 172_800_000 } });
  const [path, backing] = ['/srv/uml/debian/data.cow', '/srv/uml/base/data.img'];
  expect(guests.debian?.disks[1]).toEqual({ device: 'ubd1', path, backing });
});

test('the example shows every key that a config can have, under a comment that explains it', () => {
  const lines = example.split('\n').map((line) => line.trim());
  const { alerts, ...others } = shipped.properties;
  const waysOfAlerts = keysIn({ properties: alerts.items.properties });
  expect(waysOfAlerts).toContain('webhook');
  expect(waysOfAlerts.filter((way) => !lines.some((line) => ` ${line}`.includes(` ${way}: `)))).toEqual([]);
  const keys = keysIn({ properties: { ...others, alerts: {} } });
  expect(keys).toContain('within');
  const lineOf = (key: string) => lines.findIndex((line) => line.startsWith(`${key}:`));
  expect(keys.filter((key) => lineOf(key) < 0)).toEqual([]);

  const explainedByTheOneBefore = ['guests', 'hourly', 'daily', 'monthly', 'yearly', 'backing'];
  const unexplained = keys.filter((key) => !lines[lineOf(key) - 1]?.startsWith('#'));
  expect(unexplained.filter((key) => !explainedByTheOneBefore.includes(key))).toEqual([]);
});

/** Wherever in a schema they stand. */
function keysIn(schema: object): string[] {
  const keys = new Set<string>();
  JSON.stringify(schema, (keyword, value) => {
    if (keyword === 'properties') for (const key of Object.keys(value)) keys.add(key);
    return value;
  });
  return [...keys];
}

test('every key tells an editor what it is for, in the words of the example', () => {
  const { defaults, guests, stores } = shipped.properties;
  const { pauseBudget, mconsole } = guests.additionalProperties.properties;
  expect(pauseBudget.description).toMatch(/^The longest that the guest may stand still\./);
  expect(defaults.properties.pauseBudget.description).toBe(pauseBudget.description);
  expect(mconsole.description).toMatch(/umid/);
  expect(stores.description).toMatch(/^Where snapshots go\./);
});

const stores = { local: { type: 'directory', path: '/srv/umlsnap' } };
const good = { mconsole: 'debian', disks: { ubd0: '/srv/root.img' } };
const guest = (more: object) => ({ guests: { debian: { ...good, ...more } } });

test.each([
  guest({}),
  guest({ schedule: null, precopyRate: null, jitter: 0 }),
  guest({ disks: { ubd0: { path: '/a.cow', backing: '/a.img' } } }),
  guest({ store: ['local'], pauseBudget: '1h30m', keep: { within: '2d' } }),
])('an editor marks nothing in %j', (config) => {
  expect(isValid({ stores, ...config }), JSON.stringify(isValid.errors)).toBe(true);
});

test.each([
  ['a key with a typing error', guest({ shedule: '15 3 * * *' })],
  ['a duration without a unit', { defaults: { pauseBudget: 5 } }],
  ['a duration with an unknown unit', { defaults: { pauseBudget: '5sec' } }],
  ['a level that does not exist', { defaults: { require: 'clean' } }],
  ['a capture that does not exist', { defaults: { capture: 'lvm' } }],
  ['a guest without disks', { guests: { debian: { mconsole: 'debian' } } }],
  ['a guest with no disk', guest({ disks: {} })],
  ['a relative path of a disk', guest({ disks: { ubd0: 'root.img' } })],
  ['a device that UML does not have', guest({ disks: { ubda: '/r.img' } })],
  ['a name with a blank', { guests: { 'my guest': good } }],
  ['a rate without a unit', { defaults: { precopyRate: '50' } }],
  ['keep rules with zero', { defaults: { keep: { daily: 0 } } }],
  ['text in the place of true', { defaults: { catchUp: 'yes' } }],
  ['a request that does not exist', { defaults: { requests: ['restore'] } }],
  ['a store without a path', { stores: { local: { type: 'directory' } } }],
])('an editor marks %s while it is made', (_, config) => {
  expect(isValid({ stores, ...config })).toBe(false);
});
