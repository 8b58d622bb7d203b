import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseAst } from 'vitest/node';
import { tryTool } from './support/run-tool.js';

const root = resolve(import.meta.dirname, '..');

/** Who stands on which floor, from the ground up. Imports run downwards only: within one place, or to a strictly lower floor. */
const floors = [
  ['src/path/'],
  ['src/history/', 'src/retention/', 'src/image/'],
  ['src/locks/'],
  ['src/mconsole/', 'src/schedule/', 'src/config/', 'src/run-command.ts'],
  ['src/guest/', 'src/capture/', 'src/store/', 'src/control/', 'src/hooks/', 'src/alerts/'],
  ['src/pause/', 'src/restore/', 'src/dashboard/'],
  ['src/snapshot/', 'src/drill/', 'src/files/'],
  ['src/job/'],
  ['src/copies/', 'src/doctor/'],
  ['src/verify/'],
  ['jobs/'],
  ['src/compose.ts', 'src/output.ts'],
  ['src/start.ts'],
  ['src/daemon/'],
  ['src/cli/'],
];

/** The ground: files that anyone may use, and that use only each other. */
const ground = [
  ...['src/clock.ts', 'src/error-text.ts', 'src/errno-messages.ts', 'src/errors.ts', 'src/exit-codes.ts'],
  ...['src/line-splitter.ts', 'src/process-entry.ts', 'src/process-identity.ts', 'src/sandbox-args.ts'],
  ...['src/sandbox-filter.ts', 'src/child-environment.ts', 'src/token-bucket.ts', 'src/priority.ts'],
  'src/version.ts',
  ...['src/image/durable-file.ts', 'src/image/last-error.ts', 'src/image/linux-calls.ts'],
];

/** Capabilities that know nothing of each other, whichever floor they stand on. */
const strangers = ['src/capture/', 'src/store/', 'src/history/', 'src/retention/', 'src/mconsole/'];
/** Plain records: as types they may be imported by anyone above. */
const openRecords = 'src/history/records.ts';

/** What opens or changes a file by its path, of which only the last component could be guarded. */
const byPath =
  /^(open|rm|rmdir|unlink|rename|link|symlink|mkdir|mkdtemp|copyFile|cp|writeFile|appendFile|createWriteStream|truncate|l?chown|l?chmod|l?utimes)(Sync)?$/;
/** Who works on what other users of the host can change: guests' disks and consoles, and wherever is restored to. */
const amongOthers = ['src/guest/', 'src/image/', 'src/mconsole/', 'src/restore/', 'src/files/', 'src/drill/'];
amongOthers.push('src/snapshot/', 'src/doctor/', 'src/pause/', 'jobs/', 'src/job/', 'src/copies/');
amongOthers.push('src/verify/', 'src/daemon/');
/** Of those, what works below a directory that is only ours, or on a descriptor, by /proc. */
const inOwnPlaces = new Set([
  ...['src/image/durable-file.ts', 'src/image/digest.ts', 'src/pause/lease.ts', 'src/pause/freeze-lease.ts'],
  ...['src/pause/lease-file.ts', 'src/pause/guardian-process.ts', 'src/pause/pause-clients.ts'],
  ...['src/restore/filesystems/scratch.ts', 'src/restore/filesystems/private-copy.ts'],
  ...['src/restore/filesystems/check-disks.ts', 'src/files/ext-image.ts', 'src/files/with-ext-image.ts'],
  ...['src/files/extract-tree.ts', 'src/files/place-tree.ts', 'src/drill/drill-place.ts'],
  'src/guest/process-files.ts',
  ...['src/mconsole/reply-directory.ts', 'src/mconsole/reply-socket.ts', 'src/mconsole/notify-socket.ts'],
  // The pid file, of which nothing is believed; /proc; a root that has to be only ours.
  ...['src/mconsole/pinned-socket.ts', 'src/guest/kept-file.ts', 'src/guest/agent/install-agent.ts'],
]);

interface Import {
  from: string;
  to: string;
  isTypeOnly: boolean;
}

const read = (file: string) => readFileSync(join(root, file), 'utf8');
const files = ['src', 'jobs'].flatMap((top) =>
  readdirSync(join(root, top), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `${top}/${name}`),
);
const imports = files.flatMap(importsOf);
const show = ({ from, to }: Import) => `${from} imports ${to}`;

function importsOf(from: string): Import[] {
  const found: Import[] = [];
  collect(parseAst(read(from), { lang: 'ts' }), (specifier, isTypeOnly) => {
    if (!specifier.startsWith('.')) return;
    const to = relative(root, resolve(root, dirname(from), specifier)).replace(/\.js$/, '.ts');
    found.push({ from, to, isTypeOnly });
  });
  return found;
}

/** Walks a syntax tree: `import`, `export … from`, `import()` and `import('…').Type` all have a `source`. */
function collect(node: unknown, take: (specifier: string, isTypeOnly: boolean) => void): void {
  if (typeof node !== 'object' || node === null) return;
  const { source, importKind, exportKind, type } = node as Record<string, unknown>;
  const specifier = (source as { value?: unknown } | null | undefined)?.value;
  if (typeof specifier === 'string') {
    take(specifier, importKind === 'type' || exportKind === 'type' || type === 'TSImportType');
  }
  for (const child of Object.values(node)) collect(child, take);
}

/** The folder with a floor (or the file with one of its own) that a file belongs to. */
function placeOf(file: string): string | undefined {
  if (ground.includes(file)) return 'ground';
  return floors.flat().find((place) => file === place || (place.endsWith('/') && file.startsWith(place)));
}

/** -1 for the ground. */
function floorOf(file: string): number {
  const place = placeOf(file);
  return place === undefined ? Number.NaN : floors.findIndex((places) => places.includes(place));
}

/** The first cycle met when walking the imports from `start`, as the files along it. */
function cycleFrom(start: string, seen: Set<string>, path: string[] = []): string[] | undefined {
  if (path.includes(start)) return [...path.slice(path.indexOf(start)), start];
  if (seen.has(start)) return undefined;
  for (const { to } of imports.filter(({ from }) => from === start)) {
    const cycle = cycleFrom(to, seen, [...path, start]);
    if (cycle) return cycle;
  }
  seen.add(start);
  return undefined;
}

describe('the layout of the project', () => {
  test('the scan sees imports of every kind, so that the rules below can fail', () => {
    const seen: [string, boolean][] = [];
    const code = `import a from './a.js'; import type { B } from './b.js'; export * from './c.js';
      type D = import('./d.js').D; const e = await import('./e.js'); export type { F } from './f.js'; import './g.js';`;
    collect(parseAst(code, { lang: 'ts' }), (specifier, isTypeOnly) => seen.push([specifier, isTypeOnly]));
    expect(seen.sort()).toEqual([
      ['./a.js', false],
      ['./b.js', true],
      ['./c.js', false],
      ['./d.js', true],
      ['./e.js', false],
      ['./f.js', true],
      ['./g.js', false],
    ]);
    expect(imports.length).toBeGreaterThan(10);
  });

  test('every file stands on a floor', () => {
    expect(files.filter((file) => placeOf(file) === undefined)).toEqual([]);
  });

  test('nothing in the pause waits for an event loop, between `stop` and `go`', () => {
    const pause = ['src/pause/pause.ts', 'src/pause/go-until-counted.ts', 'src/guest/io-drain.ts'];
    expect(
      pause.filter((file) => /\b(await|async|Promise|setTimeout|setImmediate)\b/.test(read(file))),
    ).toEqual([]);
  });

  test('no import leads to a file that is not there', () => {
    const known = new Set(files);
    expect(imports.filter(({ to }) => !known.has(to) && !to.endsWith('.d.ts')).map(show)).toEqual([]);
  });

  test('imports run downwards only', () => {
    const upwards = imports.filter(
      ({ from, to }) => placeOf(from) !== placeOf(to) && !(floorOf(to) < floorOf(from)),
    );
    expect(upwards.map(show)).toEqual([]);
  });

  test('capture, store, history, retention and mconsole know nothing of each other', () => {
    const strangerOf = (file: string) => strangers.find((place) => file.startsWith(place));
    const acquainted = imports.filter(({ from, to, isTypeOnly }) => {
      const [one, other] = [strangerOf(from), strangerOf(to)];
      return one && other && one !== other && !(isTypeOnly && to === openRecords);
    });
    expect(acquainted.map(show)).toEqual([]);
  });

  test('no imports run in a circle', () => {
    const seen = new Set<string>();
    for (const file of files) expect(cycleFrom(file, seen)).toBeUndefined();
  });

  test('one file alone writes to a terminal, so that no word of a guest gets there as it is', () => {
    const talk = files.filter((file) =>
      /process\.std(?:out|err)\.write|(?<!#)\bconsole\.(?:log|error|warn|info)\(/.test(read(file)),
    );
    // The guardian's standard output is a pipe to the job.
    expect(talk.sort()).toEqual(['src/output.ts', 'src/pause/guardian-process.ts']);
  });

  test('nothing that others can change is opened, replaced or removed by its path (HeldDirectory is for that)', () => {
    const found = files.flatMap((file) => {
      const text = readFileSync(join(root, file), 'utf8');
      const lists = [...text.matchAll(/import \{([^}]*)\} from 'node:fs(?:\/promises)?'/g)].map(
        ([, list = '']) => list,
      );
      const names = lists.flatMap((list) => list.split(',')).map((name) => name.trim().split(' ')[0] ?? '');
      return names.filter((name) => byPath.test(name)).map((name) => ({ file, name }));
    });
    expect(found.map(({ file }) => file)).toEqual(expect.arrayContaining([...inOwnPlaces]));
    const foreign = found.filter(({ file }) => amongOthers.some((place) => file.startsWith(place)));
    expect(foreign.filter(({ file }) => !inOwnPlaces.has(file))).toEqual([]);
  });

  test('nothing is called utils', () => {
    expect(files.filter((file) => /(^|[/-])(utils?|helpers?|common|misc)[./-]/.test(file))).toEqual([]);
  });

  test('no tracked file names a host that packages come from', async () => {
    // Composed, so that this file does not name one itself.
    const hosts = ['registry npmjs', 'deb debian', 'registry yarnpkg', 'proxy golang'];
    const patterns = hosts.flatMap((host) => ['-e', host.replace(' ', '.')]);
    // Exits 1 where it finds none, and 128 where it can't look.
    const found = await tryTool('git', ['-C', root, 'grep', '-lIF', ...patterns]);
    expect(found).toMatchObject({ exitCode: 1, output: '' });
  });
});
