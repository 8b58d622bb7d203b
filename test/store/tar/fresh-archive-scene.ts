import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { makeTempDir, removeTempDir } from '../../support/temp-dir.js';
import { dropArchiveScene, sealedSnapshots } from './archive-scene.js';

type ArchiveScene = { dir: string } & Awaited<ReturnType<typeof sealedSnapshots>>;

/** For all tests of a file, with a fresh directory for each. */
export function freshArchiveScene(): ArchiveScene {
  const scene = { dir: '' } as ArchiveScene;
  beforeAll(async () => void Object.assign(scene, await sealedSnapshots()));
  beforeEach(async () => {
    scene.dir = await makeTempDir();
  });
  afterEach(() => removeTempDir(scene.dir));
  afterAll(dropArchiveScene);
  return scene;
}
