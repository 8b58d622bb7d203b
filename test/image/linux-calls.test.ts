import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { lockWholeFile, renameNoReplace } from '../../src/image/linux-calls.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';

let dir: string;
beforeEach(async () => {
  dir = await makeTempDir();
});
afterEach(() => removeTempDir(dir));

describe('a rename that must not replace', () => {
  test('leaves alone an empty directory, which a plain rename replaces without a word', async () => {
    await mkdir(join(dir, 'new'));
    await mkdir(join(dir, 'taken'));
    await expect(renameNoReplace(join(dir, 'new'), join(dir, 'taken'))).rejects.toMatchObject({
      code: 'EEXIST',
    });
    expect(await readdir(dir)).toEqual(['new', 'taken']);
  });

  test('gives each of many at once its own answer', async () => {
    const names = Array.from({ length: 40 }, (_, index) => `file${index}`);
    for (const name of names) await writeFile(join(dir, name), '');
    const results = await Promise.allSettled(
      names.map((name, index) =>
        renameNoReplace(join(dir, index % 2 ? name : 'missing'), join(dir, `renamed-${name}`)),
      ),
    );
    const answers = results.map((result) => (result.status === 'rejected' ? result.reason.code : 'done'));
    expect(answers).toEqual(names.map((_, index) => (index % 2 ? 'done' : 'ENOENT')));
  });
});

/** Locks the file as UML does (F_SETLK, write, all of it), says what came of it and waits for its end. */
const lockLikeUml = `
  open(my $file, "+<", $ARGV[0]) or die;
  my $lock = pack("s s x4 q q l x4", 1, 0, 0, 0, 0);
  print fcntl($file, 6, $lock) ? "locked\\n" : "refused\\n";
  close STDOUT; <STDIN>;
`;

describe('the lock on a whole file', () => {
  test("is refused while a UML holds its own, and keeps a UML's out while we hold ours", async () => {
    const path = join(dir, 'disk');
    await writeFile(path, 'disk');
    const uml = spawn('perl', ['-e', lockLikeUml, path], { stdio: ['pipe', 'pipe', 'inherit'] });
    const file = await open(path, 'r+');
    try {
      expect(String((await once(uml.stdout, 'data'))[0])).toBe('locked\n');
      expect(lockWholeFile(file.fd)).toBe(false);
      uml.stdin.end();
      await once(uml, 'exit');
      expect(lockWholeFile(file.fd)).toBe(true);
      const second = spawn('perl', ['-e', lockLikeUml, path], { stdio: ['pipe', 'pipe', 'inherit'] });
      expect(String((await once(second.stdout, 'data'))[0])).toBe('refused\n');
      second.stdin.end();
      await once(second, 'exit');
    } finally {
      await file.close();
    }
  });
});
