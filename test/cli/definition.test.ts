import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { shellCommand } from '../../src/cli/definition.js';
import { runTool } from '../support/run-tool.js';
import { withTempDir } from '../support/temp-dir.js';

const plain = { environment: {}, devices: {}, notes: [] };

test('the command that runs a guest again gives its kernel each argument as it was, whatever a shell would see in it', async () => {
  await withTempDir(async (dir) => {
    const kernelPath = join(dir, "a kernel's");
    await writeFile(kernelPath, '#!/bin/sh\nprintf "%s\\0" "$PWD" "$HOME" "$TMPDIR" "$@"\n', { mode: 0o755 });
    const hostile = [
      "it's",
      '$(id)',
      '`id`',
      '',
      'a b',
      '*',
      '~',
      '-n',
      '\\',
      '"',
      'a\nb',
      '!x',
      '#',
      'é',
      'X=1',
    ];
    const args = ['linux', 'mem=96M', 'ubd0=/a,/b', ...hostile];
    const environment = { HOME: "/h o'me", TMPDIR: '$x' };
    const command = shellCommand({ ...plain, kernelPath, args, workingDirectory: dir, environment });
    const given = (await runTool('sh', ['-c', command ?? ''])).toString().split('\0').slice(0, -1);
    expect(given).toEqual([dir, environment.HOME, environment.TMPDIR, ...args.slice(1)]);
  });
});

test('a command is written as people write it, and there is none where the command line is not known', () => {
  const args = ['linux', 'ubd0=/srv/root.cow,/srv/root.img', 'con=null', 'x=a b'];
  const known = { ...plain, kernelPath: '/usr/bin/linux', args, environment: { HOME: '/srv' } };
  const words = "HOME=/srv /usr/bin/linux ubd0=/srv/root.cow,/srv/root.img con=null 'x=a b'";
  expect(shellCommand({ ...known, workingDirectory: '/srv' })).toBe(`cd -- /srv && ${words}`);
  expect(shellCommand(known)).toBe(words);
  // Pasted by root, a guest of another user would run as root, and its disks would be nobody's to back up.
  const id = process.geteuid?.() ?? 0;
  expect(shellCommand({ ...known, user: { id, name: 'me' } })).toBe(words);
  const [other, group] = [{ id: id + 1 }, { id: 7 }];
  expect(shellCommand({ ...known, user: { ...other, name: 'uml' } })).toBe(`runuser -u uml -- env ${words}`);
  expect(shellCommand({ ...known, user: other, group })).toBe(
    `setpriv --reuid=${id + 1} --regid=7 --clear-groups -- env ${words}`,
  );
  const { args: _, ...unknown } = known;
  expect(shellCommand(unknown)).toBeUndefined();
});
