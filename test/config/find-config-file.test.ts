import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { findConfigFile } from '../../src/config/find-config-file.js';
import { temporaryDirectory } from './write-config.js';

async function homeWithConfig(): Promise<{ home: string; own: string; other: string }> {
  const home = await temporaryDirectory();
  const own = join(home, '.config/umlsnap/config.yaml');
  const other = join(home, 'other.yaml');
  await mkdir(join(home, '.config/umlsnap'), { recursive: true });
  await writeFile(own, '');
  await writeFile(other, '');
  return { home, own, other };
}

test('the command line wins over the environment, and that over the home directory', async () => {
  const { home, own, other } = await homeWithConfig();
  expect(await findConfigFile(other, { HOME: home, UMLSNAP_CONFIG: own })).toBe(other);
  expect(await findConfigFile(undefined, { HOME: home, UMLSNAP_CONFIG: other })).toBe(other);
  expect(await findConfigFile(undefined, { HOME: home })).toBe(own);
  expect(await findConfigFile(undefined, { HOME: home, UMLSNAP_CONFIG: '' })).toBe(own);
});

test('a misspelt name does not end in another config', async () => {
  const { home } = await homeWithConfig();
  const missing = join(home, 'missing.yaml');
  const expected = { code: 'ConfigNotFound', facts: { tried: [missing] } };
  await expect(findConfigFile(missing, { HOME: home })).rejects.toMatchObject(expected);
  await expect(findConfigFile(undefined, { HOME: home, UMLSNAP_CONFIG: missing })).rejects.toMatchObject(
    expected,
  );
});

test('the error names every place that was looked at', async () => {
  const home = await temporaryDirectory();
  const found = await findConfigFile(undefined, { HOME: home }).catch((error: unknown) => error);
  // A host that has a config of its own has nothing to say here.
  if (found === '/etc/umlsnap/config.yaml') return;
  expect(found).toMatchObject({
    code: 'ConfigNotFound',
    facts: { tried: [join(home, '.config/umlsnap/config.yaml'), '/etc/umlsnap/config.yaml'] },
  });
});
