import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import Ajv from 'ajv/dist/2020.js';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { configJsonSchema } from '../../src/config/json-schema.js';

const root = resolve(import.meta.dirname, '../..');
const example = await readFile(join(root, 'config.example.yaml'), 'utf8');
const shipped = JSON.parse(await readFile(join(root, 'docs/config.schema.json'), 'utf8'));
const isValid = new Ajv.Ajv2020({ strict: false }).compile(shipped);

test('the shipped schema is that of this config: npm run schema writes it anew', () => {
  expect(shipped).toEqual(JSON.parse(JSON.stringify(configJsonSchema(example))));
});

test('the example is valid, and names the schema in its first line, where editors look', () => {
  expect(isValid(parse(example)), JSON.stringify(isValid.errors)).toBe(true);
  expect(example.split('\n')[0]).toBe('# yaml-language-server: $schema=docs/config.schema.json');
});

test('every key tells an editor what it is for, in the words of the example', () => {
  const { defaults, guests, stores } = shipped.properties;
  expect(defaults.properties.pauseBudget.description).toMatch(
    /^The longest that the guest may stand still\./,
  );
  expect(guests.additionalProperties.properties.pauseBudget.description).toBe(
    defaults.properties.pauseBudget.description,
  );
  expect(guests.additionalProperties.properties.mconsole.description).toMatch(/umid/);
  expect(stores.description).toMatch(/^Where snapshots go\./);
});

const stores = { local: { type: 'directory', path: '/srv/umlsnap' } };
const disks = { ubd0: '/srv/root.img' };
const good = { mconsole: 'debian', disks };

describe('what an editor must not mark', () => {
  test.each([
    { stores, guests: { debian: good } },
    { stores, guests: { debian: { ...good, schedule: null, precopyRate: null, jitter: 0 } } },
    { stores, guests: { debian: { ...good, disks: { ubd0: { path: '/a.cow', backing: '/a.img' } } } } },
    {
      stores,
      guests: { debian: { ...good, store: ['local'], pauseBudget: '1h30m', keep: { within: '2d' } } },
    },
    {},
  ])('%j', (config) => {
    expect(isValid(config), JSON.stringify(isValid.errors)).toBe(true);
  });
});

describe('mistakes that an editor marks while they are made', () => {
  test.each([
    ['a key with a typing error', { stores, guests: { debian: { ...good, shedule: '15 3 * * *' } } }],
    ['a duration without a unit', { stores, defaults: { pauseBudget: 5 } }],
    ['a duration with an unknown unit', { stores, defaults: { pauseBudget: '5sec' } }],
    ['a level that does not exist', { stores, defaults: { require: 'clean' } }],
    ['a capture that does not exist', { stores, defaults: { capture: 'lvm' } }],
    ['a guest without disks', { stores, guests: { debian: { mconsole: 'debian' } } }],
    ['a guest with no disk', { stores, guests: { debian: { ...good, disks: {} } } }],
    ['a relative path of a disk', { stores, guests: { debian: { ...good, disks: { ubd0: 'root.img' } } } }],
    [
      'a device that UML does not have',
      { stores, guests: { debian: { ...good, disks: { ubda: '/r.img' } } } },
    ],
    ['a name with a blank', { stores, guests: { 'my guest': good } }],
    ['a rate without a unit', { stores, defaults: { precopyRate: '50' } }],
    ['keep rules with zero', { stores, defaults: { keep: { daily: 0 } } }],
    ['text in the place of true', { stores, defaults: { catchUp: 'yes' } }],
    ['a request that does not exist', { stores, defaults: { requests: ['restore'] } }],
    ['a store without a path', { stores: { local: { type: 'directory' } } }],
  ])('%s', (_, config) => {
    expect(isValid(config)).toBe(false);
  });
});
