import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { runTool } from './run-tool.js';

/**
 * What tests start as processes of their own is built: the command line, the guardian and the copiers by `npm run build`, and the
 * tests' own scripts (`*-child.ts`, `*-process.ts`) here. Done before any test runs, so that none meets a build of yesterday.
 */

const root = resolve(import.meta.dirname, '../..');

/** All that lies in a directory of the project, as paths. */
function below(directory: string): string[] {
  const names = readdirSync(join(root, directory), { recursive: true, encoding: 'utf8' });
  return names.map((name) => join(root, directory, name));
}

export async function buildAll(): Promise<void> {
  if (isStale()) await runTool('npm', ['run', '--silent', '--prefix', root, 'build'], 5 * 60_000);
  await build({
    entryPoints: below('test').filter((path) => /-(child|process)\.ts$/.test(path)),
    outbase: join(root, 'test'),
    outdir: join(root, 'dist/test'),
    ...{ bundle: true, splitting: true, format: 'esm', platform: 'node', target: 'node20' },
    external: ['unix-dgram', 'koffi', '@photostructure/sqlite', 'vitest', 'esbuild', 'playwright-core'],
    banner: {
      js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
    },
    logLevel: 'warning',
  });
}

/** Whether anything that the build reads is younger than what it made. */
function isStale(): boolean {
  const main = join(root, 'dist/main.js');
  if (!existsSync(main)) return true;
  const read = [...below('src'), ...below('jobs'), join(root, 'jobs'), join(root, 'package.json')];
  return read.some((path) => statSync(path).mtimeMs > statSync(main).mtimeMs);
}
