import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { isSound } from '../../src/store/stored-snapshots.js';
import { withInjected } from '../capture/traced.js';
import { startScript } from '../support/script-child.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { capture, draftOf } from './capture-of-tests.js';
import { contentIn } from './sparse-snapshots.js';

/** A real process that seals, with real system calls that fail or kill it (strace's injection). */

const noStrace = existsSync('/usr/bin/strace') ? undefined : 'strace is not installed';
if (noStrace !== undefined) console.warn(`SKIPPED: faults at each system call of a seal: ${noStrace}`);

describe.skipIf(noStrace !== undefined)('a seal', () => {
  it('is given up at the first fsync that fails, whichever it is, and that one is never tried again', async () => {
    // Two disks, the manifest, the directory, its parent.
    for (let nth = 1; nth <= 5; nth++) {
      await withStore(async (store) => {
        const run = await sealUnder(store, `fsync:error=EIO:when=${nth}`);
        expect(run.said).toContain('StoreUnusable EIO');
        expect(run.syncs).toBe(nth);
        expect(await store.list()).toEqual([]);
        expect(await readdir(join(store.path, 'debian'))).toEqual([]);
      });
    }
    await withStore(async (store) => {
      expect(await sealUnder(store, 'fsync:error=EIO:when=6')).toMatchObject({ said: 'sealed', syncs: 5 });
      expect(await store.list()).toMatchObject([{ snapshot: 'debian@20261121T031500Z', manifest: {} }]);
    });
  });

  it.each([
    ['fsync', 1],
    ['renameat2', 1],
    ['openat', 2],
    ['close', 2],
    ['write', 4],
  ])(
    'killed by SIGKILL at any %s lists either nothing or a whole snapshot',
    async (call, step) => {
      let killed = 0;
      for (let nth = 1; ; nth += step) {
        const said = await withStore(async (store) => {
          const run = await sealUnder(store, `${call}:signal=KILL:when=${nth}`);
          await expectNothingOrAWholeSnapshot(store, run.said);
          return run.said;
        });
        if (said === 'sealed') break;
        killed++;
      }
      expect(killed).toBeGreaterThan(0);
    },
    180_000,
  );
});

describe.skipIf(noStrace !== undefined)('a received snapshot', () => {
  it('of which the disk has lost a write, though it said yes, is told as damaged and not kept', async () => {
    await withStore(async (source) => {
      const begun = await source.begin('debian', 'job-1');
      const pieceBytes = 2 ** 20;
      const disks = await capture(begun, { ubd0: Buffer.alloc(2 * pieceBytes, 'a disk ') });
      const { snapshot } = await source.seal(begun, draftOf(begun, disks));
      const content = await contentIn(source, snapshot);
      await withStore(async (store) => {
        const written = join(store.path, 'debian/.incoming-job-1/ubd0.img');
        const lost = `pwrite64:retval=${pieceBytes}:when=1`;
        const receiving = () => withInjected(process.pid, [lost], () => store.receive(content), written);
        // What was read was sound, and was hashed as it came by: only what lies there now tells.
        await expect(receiving()).rejects.toMatchObject({
          code: 'CaptureDamaged',
          facts: { problem: expect.stringContaining('reads differently from what was written') },
        });
        expect(await store.list()).toEqual([]);
        expect(await readdir(join(store.path, 'debian'))).toEqual([]);
      });
    });
  });
});

async function expectNothingOrAWholeSnapshot(store: DirectoryStore, said: string): Promise<void> {
  const listed = await store.list();
  if (said === 'sealed') expect(listed.length).toBe(1);
  for (const stored of listed) {
    if (!isSound(stored)) throw new Error(`${stored.snapshot} is listed, and damaged: ${stored.damaged}`);
    for (const disk of stored.manifest.disks) {
      const content = await readFile(join(stored.directory, disk.file));
      expect(createHash('sha256').update(content).digest('hex')).toBe(disk.sha256);
    }
  }
  for (const incoming of await store.incomings()) await store.discard(incoming);
  expect((await readdir(join(store.path, 'debian'))).length).toBe(listed.length);
}

async function withStore<T>(use: (store: DirectoryStore) => Promise<T>): Promise<T> {
  return withTempDir(async (dir) => {
    const store = new DirectoryStore({ name: 'local', path: join(dir, 'store') });
    await store.prepare(null);
    return use(store);
  });
}

interface SealRun {
  /** Its last word; `killed` when it had none. */
  said: string;
  syncs: number;
}

/** Lets a process seal with one fault injected into its system calls from the moment the seal begins. */
async function sealUnder(store: DirectoryStore, injection: string): Promise<SealRun> {
  // One thread, since strace counts the calls of each.
  const env = { UV_THREADPOOL_SIZE: '1' };
  const sealing = startScript(new URL('./seal-child.ts', import.meta.url), [store.path], env);
  await sealing.waitForLine('ready');
  const call = injection.split(':')[0];
  const strace = spawn(
    'strace',
    ['-f', '-e', `trace=fsync,${call}`, '-e', `inject=${injection}`, '-p', String(sealing.pid)],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let output = '';
  strace.stderr.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const traced = new Promise((resolve) => strace.on('close', resolve));
  await waitFor('strace to be attached', () => /attached/.test(output), { found: () => output });
  sealing.go();
  let ended = false;
  void sealing.exited.then(() => {
    ended = true;
  });
  await waitFor('the end of the seal', () => ended || sealing.lines.length > 1, { found: () => output });
  sealing.kill('SIGKILL');
  await sealing.exited;
  await traced;
  return { said: sealing.lines[1] ?? 'killed', syncs: output.match(/fsync\(\d/g)?.length ?? 0 };
}
