import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isLockedByOthers, renameNoReplace, tryLockWholeFile } from '../../src/image/linux-calls.js';
import { withTempDir } from '../support/temp-dir.js';

test('a rename that must not replace leaves alone even an empty directory, and gives each of many at once its own answer', () =>
  withTempDir(async (dir) => {
    const rename = (from: string, to: string) => renameNoReplace(join(dir, from), join(dir, to));
    const names = Array.from({ length: 20 }, (_, index) => `name${index}`);
    for (const name of names) await writeFile(join(dir, name), '');
    for (const name of ['new', 'taken']) await mkdir(join(dir, name));
    const results = await Promise.allSettled(
      names.flatMap((name) => [
        rename(name, `renamed-${name}`),
        rename('missing', `missing-${name}`),
        rename('new', 'taken'),
      ]),
    );
    const answers = results.map((result) => (result.status === 'rejected' ? result.reason.code : 'done'));
    expect(answers).toEqual(names.flatMap(() => ['done', 'ENOENT', 'EEXIST']));
    const renamed = names.map((name) => `renamed-${name}`);
    expect((await readdir(dir)).sort()).toEqual(['new', 'taken', ...renamed].sort());
  }));

/** Locks the file as UML does (F_SETLK, write, all of it), says what came of it and waits for its end. */
const lockLikeUml = `
  open(my $file, "+<", $ARGV[0]) or die;
  my $lock = pack("s s x4 q q l x4", 1, 0, 0, 0, 0);
  print fcntl($file, 6, $lock) ? "locked\\n" : "refused\\n";
  close STDOUT; <STDIN>;
`;

test("the lock on a whole file is refused while a UML holds its own, and keeps a UML's out while we hold ours", () =>
  withTempDir(async (dir) => {
    const path = join(dir, 'disk');
    await writeFile(path, 'disk');
    const file = await open(path, 'r+');
    const asUml = async (meanwhile = async () => {}) => {
      const uml = spawn('perl', ['-e', lockLikeUml, path], { stdio: ['pipe', 'pipe', 'inherit'] });
      const said = String((await once(uml.stdout, 'data'))[0]);
      await meanwhile();
      uml.stdin.end();
      await once(uml, 'exit');
      return said;
    };
    try {
      const refused = async () => {
        expect(await tryLockWholeFile(file.fd, 'write')).toBe(false);
        expect(await isLockedByOthers(file.fd)).toBe(true);
      };
      expect(await asUml(refused)).toBe('locked\n');
      expect(await isLockedByOthers(file.fd)).toBe(false);
      expect(await tryLockWholeFile(file.fd, 'write')).toBe(true);
      expect(await asUml()).toBe('refused\n');
    } finally {
      await file.close();
    }
  }));
