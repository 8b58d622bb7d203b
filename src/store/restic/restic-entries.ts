import * as z from 'zod';
import { UmlsnapError } from '../../errors.js';
import { splitSnapshotName } from '../layout.js';
import { type Owner, ownerSchema } from '../manifest.js';
import type { ResticProgram } from './restic-program.js';

/**
 * Snapshots as restic has them. Ours carry the tag `umlsnap` and their name as another tag, and have the guest for a host; a
 * pinned one has the tag `pinned` as well, and its owner stands in two more, which decide over its manifest. All else in the
 * repository is none of ours.
 */
export const ourTag = 'umlsnap';
export const pinnedTag = 'pinned';
export const ownerTags = ({ id, host }: Owner): string[] => [`owner=${id}`, `owner-host=${host}`];

export interface ResticEntry {
  /** SHA-256 of what restic wrote: what has this id never changes. */
  id: string;
  /** The same of all of its files, whatever its tags are. */
  tree: string;
  /** `debian@20261121T031500Z` */
  snapshot: string;
  guest: string;
  isPinned: boolean;
  /** Not of those that were written before there were owners. */
  owner: Owner | undefined;
}

export const resticHash = z.string().regex(/^[0-9a-f]{64}$/);

const listSchema = z
  .array(
    z.object({
      id: resticHash,
      tree: resticHash,
      hostname: z.string(),
      tags: z
        .array(z.string())
        .nullish()
        .transform((tags) => tags ?? []),
    }),
  )
  // An empty list is `null`, in some versions.
  .nullish()
  .transform((list) => list ?? []);

/** Ours in the repository, of every guest or of one, in no order. @throws as `ResticProgram.run` */
export async function listEntries(
  restic: ResticProgram,
  guest: string | undefined,
  signal?: AbortSignal,
): Promise<ResticEntry[]> {
  const host = guest === undefined ? [] : ['--host', guest];
  // Without a lock: what is read is whole at any time, and a repository may be read-only.
  const args = ['snapshots', '--json', '--quiet', '--no-lock', '--tag', ourTag, ...host];
  const list = parseJson(listSchema, await restic.run(args, { signal }), 'its list of snapshots');
  return list.flatMap(({ id, tree, hostname, tags }) => {
    const snapshot = tags.find((tag) => {
      const name = splitSnapshotName(tag);
      return name !== undefined && name.guest === hostname;
    });
    if (snapshot === undefined || !tags.includes(ourTag)) return [];
    const isPinned = tags.includes(pinnedTag);
    return [{ id, tree, snapshot, guest: hostname, isPinned, owner: ownerIn(tags) }];
  });
}

/** Where the host's name was lost, the id still decides. */
function ownerIn(tags: string[]): Owner | undefined {
  const tagged = (name: string) => tags.find((tag) => tag.startsWith(`${name}=`))?.slice(name.length + 1);
  const id = tagged('owner');
  for (const host of [tagged('owner-host'), 'nameless']) {
    const owner = ownerSchema.safeParse({ id, host });
    if (owner.success) return owner.data;
  }
  return undefined;
}

/** Reads what restic wrote for programs. @throws Internal for what no version known to us writes */
export function parseJson<T extends z.ZodType>(schema: T, text: string, what: string): z.infer<T> {
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    const problem = `restic wrote ${what} in a way that is not known: ${text.slice(0, 200)}`;
    throw new UmlsnapError('Internal', { problem }, error);
  }
}
