import { readFile, realpath, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from './run-tool.js';
import { testCacheDir } from './test-cache.js';
import { buildShim, needsXstateShim } from './shims.js';

/**
 * A kernel for `drill: { kernel }`. Where this CPU needs the shim, it is a script that carries the shim in itself: of the host's files,
 * a drill's kernel sees no other than the system's programs.
 */
export async function drillKernel(dir: string): Promise<string> {
  const kernel = await realpath((await runTool('sh', ['-c', 'command -v linux.uml'])).toString().trim());
  if (!(await needsXstateShim())) return kernel;
  const shim = await readFile(await buildShim('xstate-shim', await testCacheDir()), 'base64');
  const script = join(dir, 'kernel');
  const text = `#!/bin/sh\nbase64 -d > shim.so <<.\n${shim}\n.\nLD_PRELOAD=$PWD/shim.so exec ${kernel} "$@"\n`;
  await writeFile(script, text, { mode: 0o755 });
  return script;
}
