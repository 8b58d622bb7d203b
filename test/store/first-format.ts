import { join } from 'node:path';
import { runTool } from '../support/run-tool.js';

/**
 * What the last umlsnap without owners wrote: `directory`, `archives` and `repository`, each with two snapshots of one guest of which
 * the newer is pinned, and `history.db` of schema 7, which has the job of the older one alone.
 */
export async function unpackFirstFormat(dir: string): Promise<void> {
  const archive = join(import.meta.dirname, '../fixtures/umlsnap-1.tar.xz');
  await runTool('tar', ['-xJf', archive, '--no-same-owner', '-C', dir]);
}
