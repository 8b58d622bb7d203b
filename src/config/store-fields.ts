import { posix } from 'node:path';
import * as z from 'zod';
import { pathField } from './fields.js';
import { entriesOf, isPlainObject, type Report } from './report.js';
import type { StoreConfig } from './store-config.js';

/** The stores of the config: what each kind can have, and what they can't have together. */

export const directoryStoreSchema = z.strictObject({ type: z.literal('directory'), path: pathField });

export const tarStoreSchema = z.strictObject({
  type: z.literal('tar'),
  path: pathField,
  compression: z.enum(['zstd', 'gzip', 'none']).exactOptional(),
  staging: pathField.exactOptional(),
});

/** Control characters in a repository's name could be anything to whoever prints it. */
const repositoryField = z
  .string()
  .min(1, 'must be a repository, as for restic --repo')
  .regex(/^\P{Cc}*$/u, 'must not contain control characters')
  // Without a scheme it is a path, and a relative one would depend on where umlsnap was started.
  .refine(
    (repository) => repository.startsWith('/') || /^[a-z0-9]+:./.test(repository),
    'must be an absolute path, or have a scheme such as sftp: s3: rest: or rclone:',
  );

/** Programs are run without a shell: a list is the program and its arguments. */
const commandField = z
  .array(z.string('must be a list of the program and its arguments').min(1, 'must not be empty'), {
    error: 'must be a list of the program and its arguments',
  })
  .min(1, 'must be a list of the program and its arguments');

export const resticStoreSchema = z.strictObject({
  type: z.literal('restic'),
  repository: repositoryField,
  passwordFile: pathField.exactOptional(),
  passwordCommand: commandField.exactOptional(),
  environmentFile: pathField.exactOptional(),
  staging: pathField.exactOptional(),
});

export const storeSchema = z.discriminatedUnion(
  'type',
  [directoryStoreSchema, tarStoreSchema, resticStoreSchema],
  {
    error: ({ code }) => (code === 'invalid_union' ? 'must be one of directory, tar, restic' : undefined),
  },
);

type StoreInput = z.infer<typeof storeSchema>;

/** @param state where what waits for an archive store lies, unless the store says otherwise */
export function resolveStore(name: string, state: string, input: StoreInput): StoreConfig {
  const staging = posix.join(state, 'staging', name);
  switch (input.type) {
    case 'directory':
      return { name, ...input };
    case 'tar':
      return { compression: 'zstd', staging, ...input, name };
    case 'restic': {
      const nothing = { passwordFile: null, passwordCommand: null, environmentFile: null };
      return { ...nothing, staging, ...input, name };
    }
  }
}

/** Works on the raw file, field by field, so that a problem elsewhere in a store hides none of these. */
export function checkStores(raw: Record<string, unknown>, report: Report): void {
  checkPlaces(raw.stores, report);
  for (const [name, store] of entriesOf(raw.stores))
    if (isPlainObject(store) && store.type === 'restic') checkPassword(name, store, report);
}

/** Of two names for one place, each would take what lies there for a copy of its own. */
export function checkPlaces(stores: unknown, report: Report): void {
  const firstByPlace = new Map<string, string>();
  const claim = (at: string[], what: string) => {
    const [, name = '', key = ''] = at;
    const first = firstByPlace.get(what);
    if (first === undefined) firstByPlace.set(what, `${key} of the store "${name}"`);
    else report(at, `is the ${first} as well`);
  };
  for (const [name, store] of entriesOf(stores)) {
    if (!isPlainObject(store)) continue;
    for (const key of ['path', 'repository', 'staging']) {
      const { [key]: value } = store;
      const place = typeof value === 'string' ? (pathField.safeParse(value).data ?? value) : undefined;
      if (place !== undefined) claim(['stores', name, key], place);
    }
  }
}

function checkPassword(name: string, store: Record<string, unknown>, report: Report): void {
  const given = ['passwordFile', 'passwordCommand'].filter((key) => store[key] !== undefined);
  if (given.length === 1) return;
  if (given.length === 0) {
    report(
      ['stores', name],
      'needs a passwordFile or a passwordCommand, as a restic repository has one',
      'key',
    );
  } else {
    report(['stores', name, 'passwordCommand'], 'stands beside passwordFile: one of them has to go', 'key');
  }
}
