import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Config } from '../../src/config/config.js';
import { loadConfig } from '../../src/config/load-config.js';
import { isError } from '../../src/errors.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

/** A directory that goes when the test ends. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await makeTempDir();
  onTestFinished(() => removeTempDir(directory));
  return directory;
}

/** The path of a config file with this content. */
export async function configFile(content: string | Buffer): Promise<string> {
  const file = join(await temporaryDirectory(), 'config.yaml');
  await writeFile(file, content);
  return file;
}

export const loaded = async (content: string): Promise<Config> => loadConfig(await configFile(content));

/** The problems of a config with this content as `line:column path: message`; none for a sound one. */
export async function problemsOf(content: string | Buffer): Promise<string[]> {
  try {
    await loadConfig(await configFile(content));
    return [];
  } catch (error) {
    if (!isError(error, 'ConfigInvalid')) throw error;
    return error.facts.problems.map(
      (found) => `${found.line}:${found.column} ${found.path}: ${found.message}`,
    );
  }
}
