import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type FakeGuest, startFakeGuest } from '../fixtures/fake-guest.js';
import type { FakeGuestTraits } from '../fixtures/misbehaviour.js';
import { type Scene, setScene } from '../snapshot/scene.js';

export interface SmallScene {
  scene: Scene;
  guest: FakeGuest;
  diskPath: string;
}

/** A scene around a fake guest with a disk of 1 MiB: for what a command says, where no kernel is needed. */
export async function setSmallScene(
  dir: string,
  traits: FakeGuestTraits = {},
  settings: Record<string, unknown> = {},
): Promise<SmallScene> {
  const diskPath = join(dir, 'disk.img');
  await writeFile(diskPath, Buffer.alloc(2 ** 20, 7));
  const guest = await startFakeGuest({ dir: join(dir, 'g'), disks: { ubd0: diskPath }, ...traits });
  const disks = [{ device: 'ubd0', path: diskPath }];
  const scene = await setScene({ dir, mconsole: guest.socketPath, disks, settings });
  return { scene, guest, diskPath };
}
