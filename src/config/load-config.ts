import { resolve } from 'node:path';
import { type ConfigProblem, UmlsnapError } from '../errors.js';
import type { Config } from './config.js';
import { checkAcross } from './cross-checks.js';
import { pathField } from './fields.js';
import { followLinks } from './follow-links.js';
import { checkKeys } from './key-checks.js';
import { isPlainObject, type Report } from './report.js';
import { defaultState, resolveConfig } from './resolve.js';
import { configSchema } from './schema.js';
import { reportIssues } from './schema-problems.js';
import { checkPlaces } from './store-fields.js';
import { readYamlFile, valueDespiteProblems } from './yaml-file.js';

/**
 * Reads and checks a config file, all of it: every problem is in the one error, each with its line.
 * @throws ConfigNotFound, ConfigInvalid
 */
export async function loadConfig(file: string): Promise<Config> {
  const path = resolve(file);
  const yaml = await readYamlFile(path);
  const problems: ConfigProblem[] = [];
  const report: Report = (at, message, what) => problems.push(yaml.problemAt(at, message, what));

  const parsed = configSchema.safeParse(yaml.value, { reportInput: true });
  if (!parsed.success) reportIssues(parsed.error.issues, report);
  if (isPlainObject(yaml.value)) {
    checkKeys(yaml.value, report);
    checkAcross(yaml.value, report);
  }
  if (parsed.success && problems.length === 0) {
    const config = await followLinks(resolveConfig(path, parsed.data));
    // Once more: a link may lead two of them to one place.
    checkPlaces(config.stores, report);
    if (problems.length === 0) return config;
  }
  problems.sort((a, b) => a.line - b.line || a.column - b.column);
  throw new UmlsnapError('ConfigInvalid', { file: path, problems });
}

/**
 * The state directory that a config with problems names, or the one that it would have: where a daemon of it can be asked all the same.
 * @throws ConfigNotFound, and ConfigInvalid where nothing of the file can be read
 */
export async function stateDespiteProblems(file: string): Promise<string> {
  const value = await valueDespiteProblems(file);
  const state = isPlainObject(value) ? pathField.safeParse(value.state) : undefined;
  return state?.success ? state.data : defaultState();
}
