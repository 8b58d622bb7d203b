import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { runTool } from './run-tool.js';

/**
 * What tests start as processes of their own is built: the command line, the guardian and the copiers by `npm run build`, and the
 * tests' own scripts (`*-child.ts`, `*-process.ts`) here. Done before any test runs, so that none meets a build of yesterday.
 */

const root = resolve(import.meta.dirname, '../..');

export async function buildAll(): Promise<void> {
  if (isStale()) await runTool('npm', ['run', '--silent', '--prefix', root, 'build'], 5 * 60_000);
  await build({
    entryPoints: scripts(),
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

function scripts(): string[] {
  const names = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' });
  return names.filter((name) => /-(child|process)\.ts$/.test(name)).map((name) => join(root, 'test', name));
}

/** Whether anything that the build reads is younger than what it made. */
function isStale(): boolean {
  const main = join(root, 'dist/main.js');
  if (!existsSync(main)) return true;
  const builtAtMs = statSync(main).mtimeMs;
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' });
  const read = [...sources.map((name) => join('src', name)), 'jobs', 'package.json'];
  const jobs = readdirSync(join(root, 'jobs')).map((name) => join('jobs', name));
  return [...read, ...jobs].some((name) => statSync(join(root, name)).mtimeMs > builtAtMs);
}
