import { fileURLToPath } from 'node:url';

/**
 * The built script of a child process that stands beside the module `from`. Tests load the modules' sources, and a
 * bare node can't run those: they get the built child of the same name.
 */
export function processEntry(name: string, from: string): string {
  const beside = fileURLToPath(new URL(`./${name}.js`, from));
  // The last `src` is ours: the project may lie below a directory of that name.
  return from.endsWith('.ts') ? beside.replace(/^(.*)\/src\//s, '$1/dist/src/') : beside;
}
