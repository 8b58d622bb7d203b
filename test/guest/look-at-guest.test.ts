import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { findConsoleProcess } from '../../src/guest/console-process.js';
import { type GuestSighting, lookAtGuest } from '../../src/guest/look-at-guest.js';
import { type FakeGuestOptions, withFakeGuest } from '../fixtures/fake-guest.js';
import { withTempDir } from '../support/temp-dir.js';

/** Looks at a fake guest with a disk `disk.cow` in its own directory. */
async function look(
  traits: Partial<FakeGuestOptions>,
  limitMs = 30_000,
): Promise<{ seen: GuestSighting; asked: string[]; dir: string }> {
  return await withTempDir(async (parent) => {
    const dir = join(parent, 'umid');
    await mkdir(dir);
    await writeFile(join(dir, 'disk.cow'), 'x');
    return await withFakeGuest({ dir, ...traits }, async (guest) => {
      const main = findConsoleProcess(guest.socketPath);
      const seen = await lookAtGuest(guest.socketPath, main, { limitMs, withDisks: true });
      return { seen, asked: guest.received().map(({ command }) => command), dir };
    });
  });
}

test('a disk that a guest names from where it was started is named from the root, and a COW disk with both its files', async () => {
  const { seen, dir } = await look({ disks: { ubd3: 'disk.cow,/srv/base.img' } });
  expect(seen).toMatchObject({
    ...{ umid: 'umid', state: 'running', problem: null },
    disks: [{ device: 'ubd3', path: join(dir, 'disk.cow'), backing: '/srv/base.img' }],
    lockedFiles: [{ path: join(dir, 'disk.cow'), lock: 'write' }],
  });
});

test('nothing is asked that could change a guest, stopped or not', async () => {
  const { asked } = await look({});
  expect(asked[0]).toBe('version');
  expect(asked.slice(1)).toEqual(Array.from({ length: 16 }, (_, n) => `config ubd${n}`));
});

test('a guest that falls silent after its first answer is there all the same, with the disks it has told', async () => {
  const misbehave = [{ on: 'config', fault: { kind: 'dropAnswer' } as const }];
  const { seen, asked } = await look({ disks: { ubd0: 'disk.cow' }, misbehave }, 2000);
  expect(seen).toMatchObject({ state: 'running', kernel: expect.stringContaining('Linux'), disks: [] });
  expect(asked).toEqual(['version', 'config ubd0']);
});

test('one that answers byte by byte, and so for longer than there is time, does not answer', async () => {
  const misbehave = [{ fault: { kind: 'bytewiseAnswer', everyMs: 500 } as const }];
  const { seen } = await look({ misbehave }, 2000);
  expect(seen).toMatchObject({ state: 'notAnswering', problem: { code: 'GuestNotAnswering' } });
});
