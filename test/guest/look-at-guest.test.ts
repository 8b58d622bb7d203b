import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { findConsoleProcess } from '../../src/guest/console-process.js';
import { lookAtGuest } from '../../src/guest/look-at-guest.js';
import { withFakeGuest } from '../fixtures/fake-guest.js';
import type { Fault, FakeGuestTraits } from '../fixtures/misbehaviour.js';
import { withTempDir } from '../support/temp-dir.js';

/** Looks at a fake guest with a disk `disk.cow` in its own directory. */
const look = (traits: FakeGuestTraits, limitMs = 30_000) =>
  withTempDir(async (parent) => {
    const dir = join(parent, 'umid');
    await mkdir(dir);
    await writeFile(join(dir, 'disk.cow'), 'x');
    return await withFakeGuest({ dir, ...traits }, async (guest) => {
      const main = findConsoleProcess(guest.socketPath);
      const seen = await lookAtGuest(guest.socketPath, main, { limitMs, withDisks: true });
      return { seen, asked: guest.received().map(({ command }) => command), dir };
    });
  });

test('a disk that a guest names from where it was started is named from the root, a COW disk with both its files, and nothing is asked that could change it', async () => {
  const { seen, asked, dir } = await look({ disks: { ubd3: 'disk.cow,/srv/base.img' } });
  expect(seen).toMatchObject({
    ...{ umid: 'umid', state: 'running', problem: null },
    disks: [{ device: 'ubd3', path: join(dir, 'disk.cow'), backing: '/srv/base.img' }],
    lockedFiles: [{ path: join(dir, 'disk.cow'), lock: 'write' }],
  });
  expect(asked).toEqual(['version', ...Array.from({ length: 16 }, (_, n) => `config ubd${n}`)]);
});

test('a guest that falls silent after its first answer is there all the same, with the disks it has told', async () => {
  const fault: Fault = { kind: 'dropAnswer' };
  const { seen, asked } = await look(
    { disks: { ubd0: 'disk.cow' }, misbehave: [{ on: 'config', fault }] },
    2000,
  );
  expect(seen).toMatchObject({ state: 'running', kernel: expect.stringContaining('Linux'), disks: [] });
  expect(asked).toEqual(['version', 'config ubd0']);
});

test('one that answers byte by byte, and so for longer than there is time, does not answer (fault 17)', async () => {
  const fault: Fault = { kind: 'bytewiseAnswer', everyMs: 500 };
  const { seen } = await look({ misbehave: [{ fault }] }, 2000);
  expect(seen).toMatchObject({ state: 'notAnswering', problem: { code: 'GuestNotAnswering' } });
});
