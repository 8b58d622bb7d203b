import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { findConfigFile } from '../../src/config/find-config-file.js';
import { temporaryDirectory } from './write-config.js';

test('the command line wins over the environment, and that over the home directory; a misspelt name does not end in another config', async () => {
  const home = await temporaryDirectory();
  const own = join(home, '.config/umlsnap/config.yaml');
  const other = join(home, 'other.yaml');
  await mkdir(join(home, '.config/umlsnap'), { recursive: true });
  for (const file of [own, other]) await writeFile(file, '');
  const find = (explicit: string | undefined, env: NodeJS.ProcessEnv = {}) =>
    findConfigFile(explicit, { HOME: home, ...env });
  expect(await find(other, { UMLSNAP_CONFIG: own })).toBe(other);
  expect(await find(undefined, { UMLSNAP_CONFIG: other })).toBe(other);
  expect(await find(undefined)).toBe(own);
  expect(await find(undefined, { UMLSNAP_CONFIG: '' })).toBe(own);

  const missing = join(home, 'missing.yaml');
  const expected = { code: 'ConfigNotFound', facts: { tried: [missing] } };
  await expect(find(missing)).rejects.toMatchObject(expected);
  await expect(find(undefined, { UMLSNAP_CONFIG: missing })).rejects.toMatchObject(expected);
});
