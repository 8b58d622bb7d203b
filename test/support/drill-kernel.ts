import { chmod, readFile, realpath, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from './run-tool.js';
import { testCacheDir } from './test-cache.js';
import { buildXstateShim, needsXstateShim } from './xstate-shim.js';

/**
 * A kernel for `drill: { kernel }`. Where this CPU needs the shim, it is a script that carries the shim in itself: of the host's files,
 * a drill's kernel sees no other than the system's programs.
 */
export async function drillKernel(dir: string): Promise<string> {
  const kernel = await realpath((await runTool('sh', ['-c', 'command -v linux.uml'])).toString().trim());
  if (!(await needsXstateShim())) return kernel;
  const shim = await readFile(await buildXstateShim(await testCacheDir()));
  const script = join(dir, 'kernel');
  const lines = ['#!/bin/sh', 'base64 -d > shim.so <<.', shim.toString('base64'), '.'];
  await writeFile(script, `${[...lines, `LD_PRELOAD=$PWD/shim.so exec ${kernel} "$@"`].join('\n')}\n`);
  await chmod(script, 0o755);
  return script;
}
