import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { loadConfig } from '../../src/config/load-config.js';
import { isError } from '../../src/errors.js';

/** A directory that goes when the test ends. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'umlsnap-config-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** The path of a config file with this content. */
export async function configFile(content: string | Buffer): Promise<string> {
  const file = join(await temporaryDirectory(), 'config.yaml');
  await writeFile(file, content);
  return file;
}

/** The problems of a config with this content as `line:column path: message`; none for a sound one. */
export async function problemsOf(content: string | Buffer): Promise<string[]> {
  const file = await configFile(content);
  try {
    await loadConfig(file);
    return [];
  } catch (error) {
    if (!isError(error, 'ConfigInvalid')) throw error;
    return error.facts.problems.map(
      ({ line, column, path, message }) => `${line}:${column} ${path}: ${message}`,
    );
  }
}
