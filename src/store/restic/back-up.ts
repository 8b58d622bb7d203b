import * as z from 'zod';
import { UmlsnapError } from '../../errors.js';
import type { ImageWorkOptions } from '../../image/image-work.js';
import type { Manifest } from '../manifest.js';
import type { HandOver } from './hand-over.js';
import { ourTag, ownerTags, pinnedTag } from './restic-entries.js';
import type { ResticProgram } from './restic-program.js';

const summarySchema = z.object({
  message_type: z.literal('summary'),
  /** In full, or its first 8 digits. */
  snapshot_id: z.string().regex(/^[0-9a-f]{8,64}$/),
  total_files_processed: z.number(),
  total_bytes_processed: z.number(),
});
const statusSchema = z.object({
  message_type: z.literal('status'),
  total_bytes: z.number().default(0),
  bytes_done: z.number().default(0),
});

/**
 * Has restic take what is laid out. Its snapshot is there with its last write, whole, or not at all.
 * @returns the id of its snapshot, maybe only the beginning of it, and whether restic took all that there was: it does not fail for what was gone before it came to it
 * @throws as `ResticProgram.run`
 */
export async function backUp(
  restic: ResticProgram,
  manifest: Manifest,
  { directory, files }: HandOver,
  options: ImageWorkOptions,
): Promise<{ id: string; isComplete: boolean }> {
  const { snapshot, guest, pinned, owner } = manifest;
  const tags = [ourTag, snapshot, ...(pinned ? [pinnedTag] : []), ...(owner ? ownerTags(owner) : [])];
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const output = new BackupOutput(sizeBytes, options.onProgress);
  // --force: every byte is read, whatever the files' times look like. What is known already is not stored again.
  const args = ['backup', '--json', '--force', '--host', guest, '--time', timeOf(manifest)];
  const paths = files.map(({ path }) => path);
  await restic.run([...args, ...tags.flatMap((tag) => ['--tag', tag]), '--', ...paths], {
    cwd: directory,
    signal: options.signal,
    onLine: (line) => output.take(line),
  });
  const { summary } = output;
  const isComplete =
    summary.total_files_processed === files.length && summary.total_bytes_processed === sizeBytes;
  return { id: summary.snapshot_id, isComplete };
}

/** `2026-11-21 03:15:00`, in UTC. */
function timeOf({ takenAt }: Manifest): string {
  return new Date(takenAt).toISOString().slice(0, 19).replace('T', ' ');
}

/** Reads the lines that `restic backup --json` writes; others (of hooks, of a newer version) are left out. */
class BackupOutput {
  readonly #sizeBytes: number;
  readonly #onProgress: ImageWorkOptions['onProgress'];
  #summary: z.infer<typeof summarySchema> | undefined;
  #doneBytes = 0;

  constructor(sizeBytes: number, onProgress: ImageWorkOptions['onProgress']) {
    this.#sizeBytes = sizeBytes;
    this.#onProgress = onProgress;
  }

  get summary(): z.infer<typeof summarySchema> {
    if (this.#summary !== undefined) return this.#summary;
    throw new UmlsnapError('Internal', {
      problem: 'restic ended well, and without the summary of its backup',
    });
  }

  /** @returns whether anything got on */
  take(line: string): boolean {
    const word = parseOrUndefined(line);
    const summary = summarySchema.safeParse(word);
    if (summary.success) this.#summary = summary.data;
    const status = statusSchema.safeParse(word);
    if (!status.success || status.data.bytes_done === this.#doneBytes) return summary.success;
    this.#doneBytes = status.data.bytes_done;
    this.#onProgress?.({ doneBytes: this.#doneBytes, sizeBytes: this.#sizeBytes });
    return true;
  }
}

function parseOrUndefined(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
