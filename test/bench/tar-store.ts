import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { contentOfFile, digestContent } from '../../src/image/read-content.js';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import type { SnapshotContent } from '../../src/store/store.js';
import { TarStore } from '../../src/store/tar/tar-store.js';
import { writeArchive } from '../../src/store/tar/write-archive.js';
import { allocatedBytes, withOpen } from '../image/make-image.js';
import { contentIn, sealSparse } from '../store/sparse-snapshots.js';
import { buildAll } from '../support/build.js';
import { runTool } from '../support/run-tool.js';
import { withTempDir } from '../support/temp-dir.js';
import { median } from './figures.js';

/**
 * `npm run bench:tar -- [rounds]`: an image of 4 GiB with 300 MiB of data into an archive and back, by the tar store and by
 * `tar -S -I 'zstd -T0 -3'`, one after the other in each round. The store also makes all of it durable and has zstd test each new
 * archive; tar is measured as it is, and with a sync of what it wrote.
 */

const sizeBytes = 4 * 2 ** 30;
/** Of 1 MiB each. */
const pieces = 300;
const snapshot = 'bench@20261121T031500Z';
const rounds = Number(process.argv[2] ?? 5);

const packs = { plain: 'pack: writeArchive', store: 'pack: store (durable, tested)' };
const restore = 'unpack: restore (durable, checked)';

/** Half of it can't be compressed; the other half is words. */
async function makeDisk(path: string): Promise<void> {
  const words = Array.from({ length: 4000 }, () =>
    randomBytes(2 + Math.floor(Math.random() * 6)).toString('hex'),
  );
  const wordsOnly = () => {
    const data = Buffer.alloc(2 ** 20, ' ');
    for (let at = 0; at < data.length; )
      at += 1 + data.write(words[Math.floor(Math.random() * 4000)] ?? '', at);
    return data;
  };
  const stride = Math.floor(sizeBytes / pieces / 4096) * 4096;
  await withOpen(path, 'w', async (image) => {
    await image.truncate(sizeBytes);
    for (let piece = 0; piece < pieces; piece++) {
      const data = piece % 2 === 0 ? randomBytes(2 ** 20) : wordsOnly();
      await image.write(data, 0, data.length, piece * stride);
    }
  });
}

const times: Record<string, number[]> = {};

async function timed(what: string, work: () => Promise<unknown>): Promise<void> {
  const startedMs = performance.now();
  await work();
  times[what] = [...(times[what] ?? []), performance.now() - startedMs];
}

async function timedTar(what: string, args: string[], written: string): Promise<void> {
  const run = () => runTool('tar', ['-S', '-I', 'zstd -T0 -3', ...args]);
  await timed(`${what}: tar`, run);
  await rm(written);
  await timed(`${what}: tar and sync`, async () => {
    await run();
    await runTool('sync', [written]);
  });
}

async function round(dir: string, content: SnapshotContent, image: string): Promise<void> {
  const archive = join(dir, 'by-tar.tar.zst');
  const out = join(dir, 'by-tar');
  await mkdir(out);
  await timedTar('pack', ['-cf', archive, '-C', dir, 'image'], archive);
  await timed(packs.plain, () =>
    withOpen(join(dir, 'plain.tar.zst'), 'w', ({ fd }) => writeArchive(content, { fd, compression: 'zstd' })),
  );
  const store = new TarStore({ name: 'archives', path: join(dir, 'archives'), compression: 'zstd' });
  await store.prepare(null);
  await timed(packs.store, () => store.receive(content, {}));
  await timedTar('unpack', ['-xf', archive, '-C', out], join(out, 'image'));
  const stored = await contentIn(store, snapshot);
  const { signal } = new AbortController();
  await timed(restore, () => restoreToDirectory(stored, join(dir, 'restored'), { signal }));
  const restored = join(dir, 'restored', 'ubd0.img');
  if ((await allocatedBytes(restored)) > (await allocatedBytes(image)) + 2 ** 20)
    throw new Error('what came back is not as sparse');
  const { dataSha256 } = await withOpen(restored, 'r', (file) =>
    digestContent(contentOfFile(file), sizeBytes, {}, 'data'),
  );
  if (dataSha256 !== content.manifest.disks[0]?.dataSha256) throw new Error('what came back differs');
  for (const made of ['by-tar', 'by-tar.tar.zst', 'plain.tar.zst', 'archives', 'restored']) {
    await rm(join(dir, made), { recursive: true });
  }
}

const say = (line: string) => void process.stdout.write(`${line}\n`);

function compare(ours: string, ...theirs: string[]): void {
  for (const other of theirs) {
    const ratio = median(times[other] ?? []) / median(times[ours] ?? []);
    say(`${ours} against ${other}: ${ratio.toFixed(2)} times its speed`);
  }
}

await buildAll();
await withTempDir(async (dir) => {
  const source = new DirectoryStore({ name: 'source', path: join(dir, 'source') });
  await source.prepare(null);
  const image = join(dir, 'image');
  await makeDisk(image);
  await sealSparse(source, snapshot, { ubd0: { from: image } });
  const content = await contentIn(source, snapshot);
  for (let done = 0; done < rounds; done++) await round(dir, content, image);
  for (const [what, taken] of Object.entries(times)) {
    say(`${what.padEnd(36)} ${taken.map((ms) => Math.round(ms)).join(' ')} ms`);
  }
  compare(packs.plain, 'pack: tar');
  compare(packs.store, 'pack: tar', 'pack: tar and sync');
  compare(restore, 'unpack: tar', 'unpack: tar and sync');
  say(`memory at most ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB`);
});
