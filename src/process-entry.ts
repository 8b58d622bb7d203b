import { fileURLToPath } from 'node:url';

/**
 * The built script of a child process that stands beside the module `from`. Tests load the modules' sources, and a
 * bare node can't run those: they get the built child of the same name.
 */
export function processEntry(name: string, from: string): string {
  if (!from.endsWith('.ts')) return fileURLToPath(new URL(`./${name}.js`, from));
  return fileURLToPath(new URL(`./${name}.js`, from)).replace(/\/src\/(?=[^/]+(?:\/[^/]+)?$)/, '/dist/src/');
}
