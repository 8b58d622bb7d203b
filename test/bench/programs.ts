import { join } from 'node:path';
import { runTool } from '../support/run-tool.js';

export interface Programs {
  /** On the host. */
  witness: string;
  /** Those that the guest runs: `load` and `ticker`. */
  guestDirectory: string;
}

/** Compiles what has to be quicker than Node, into `dir`. */
export async function compilePrograms(dir: string): Promise<Programs> {
  const compile = (source: string, target: string, ...more: string[]) =>
    runTool('gcc', ['-O2', ...more, '-o', target, join(import.meta.dirname, source)]);
  const witness = join(dir, 'witness');
  await compile('witness.c', witness);
  // Statically: the guest's disk has no libraries.
  for (const name of ['load', 'ticker']) await compile(`guest/${name}.c`, join(dir, name), '-static');
  return { witness, guestDirectory: dir };
}
