import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { restoreToDirectory } from '../../src/restore/restore-to-directory.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { TarStore } from '../../src/store/tar/tar-store.js';
import { writeArchive } from '../../src/store/tar/write-archive.js';
import type { SnapshotContent } from '../../src/store/store.js';
import { contentIn, sealSparse } from '../store/sparse-snapshots.js';
import { contentOfFile, digestContent } from '../../src/image/read-content.js';
import { allocatedBytes } from '../image/make-image.js';
import { buildAll } from '../support/build.js';
import { runTool } from '../support/run-tool.js';
import { withTempDir } from '../support/temp-dir.js';
import { median } from './statistics.js';

/**
 * `npm run bench:tar -- [rounds]`: an image of 4 GiB with 300 MiB of data into an archive and back, by the tar store and by
 * `tar -S -I 'zstd -T0 -3'`, one after the other in each round. The store also makes all of it durable and has zstd test each new
 * archive; tar is measured as it is, and with a sync of what it wrote.
 */

const sizeBytes = 4 * 2 ** 30;
const dataBytes = 300 * 2 ** 20;
const snapshot = 'bench@20261121T031500Z';
const signal = new AbortController().signal;
const rounds = Number(process.argv[2] ?? 5);

/** Half of it can't be compressed; the other half is words. */
async function fillImage(path: string): Promise<void> {
  const words = Array.from({ length: 4000 }, () =>
    randomBytes(2 + Math.floor(Math.random() * 6)).toString('hex'),
  );
  const image = await open(path, 'r+');
  try {
    const pieceBytes = 2 ** 20;
    const pieces = dataBytes / pieceBytes;
    const stride = Math.floor(sizeBytes / pieces / 4096) * 4096;
    for (let piece = 0; piece < pieces; piece++) {
      const data = Buffer.alloc(pieceBytes, ' ');
      if (piece % 2 === 0) randomBytes(pieceBytes).copy(data);
      else
        for (let at = 0; at < pieceBytes; )
          at += 1 + data.write(words[Math.floor(Math.random() * 4000)] ?? '', at);
      await image.write(data, 0, pieceBytes, piece * stride);
    }
  } finally {
    await image.close();
  }
}

type Times = Record<string, number[]>;

async function timed(times: Times, what: string, work: () => Promise<unknown>): Promise<void> {
  const startedMs = performance.now();
  await work();
  const tookMs = performance.now() - startedMs;
  times[what] = [...(times[what] ?? []), tookMs];
}

async function round(dir: string, content: SnapshotContent, image: string, times: Times): Promise<void> {
  const archive = join(dir, 'by-tar.tar.zst');
  const out = join(dir, 'by-tar');
  await mkdir(out);
  const pack = ['-S', '-I', 'zstd -T0 -3', '-cf', archive, '-C', dir, 'image'];
  const unpack = ['-S', '-I', 'zstd -T0 -3', '-xf', archive, '-C', out];
  await timed(times, 'pack: tar', () => runTool('tar', pack));
  await rm(archive);
  await timed(times, 'pack: tar and sync', async () => {
    await runTool('tar', pack);
    await runTool('sync', [archive]);
  });
  await timed(times, 'pack: writeArchive', async () => {
    const file = await open(join(dir, 'plain.tar.zst'), 'w');
    await writeArchive(content, { fd: file.fd, compression: 'zstd' }).finally(() => file.close());
  });
  const store = new TarStore({ name: 'archives', path: join(dir, 'archives'), compression: 'zstd' });
  await store.prepare(null);
  await timed(times, 'pack: store (durable, tested)', () => store.receive(content, {}));
  await timed(times, 'unpack: tar', () => runTool('tar', unpack));
  await rm(join(out, 'image'));
  await timed(times, 'unpack: tar and sync', async () => {
    await runTool('tar', unpack);
    await runTool('sync', [join(out, 'image')]);
  });
  const stored = await contentIn(store, snapshot);
  await timed(times, 'unpack: restore (durable, checked)', () =>
    restoreToDirectory(stored, join(dir, 'restored'), { signal }),
  );
  if ((await allocatedBytes(join(dir, 'restored', 'ubd0.img'))) > (await allocatedBytes(image)) + 2 ** 20) {
    throw new Error('what came back is not as sparse');
  }
  const restored = contentOfFile(await open(join(dir, 'restored', 'ubd0.img')));
  const { dataSha256 } = await digestContent(restored, sizeBytes, {}, 'data');
  await restored.close();
  if (dataSha256 !== content.manifest.disks[0]?.dataSha256) throw new Error('what came back differs');
  for (const made of ['by-tar', 'by-tar.tar.zst', 'plain.tar.zst', 'archives', 'restored']) {
    await rm(join(dir, made), { recursive: true });
  }
}

function ratio(times: Times, ours: string, theirs: string): string {
  const value = median(times[theirs] ?? []) / median(times[ours] ?? []);
  return `${ours} against ${theirs}: ${value.toFixed(2)} times its speed`;
}

await buildAll();
await withTempDir(async (dir) => {
  const source = new DirectoryStore({ name: 'source', path: join(dir, 'source') });
  await source.prepare(null);
  const image = join(dir, 'image');
  await (await open(image, 'w')).close();
  await runTool('truncate', ['-s', String(sizeBytes), image]);
  await fillImage(image);
  await sealSparse(source, snapshot, { ubd0: { sizeBytes, pieces: [], from: image } });
  const content = await contentIn(source, snapshot);
  const times: Times = {};
  for (let done = 0; done < rounds; done++) await round(dir, content, image, times);
  for (const [what, taken] of Object.entries(times)) {
    process.stdout.write(`${what.padEnd(36)} ${taken.map((ms) => Math.round(ms)).join(' ')} ms\n`);
  }
  for (const [ours, theirs] of [
    ['pack: writeArchive', 'pack: tar'],
    ['pack: store (durable, tested)', 'pack: tar'],
    ['pack: store (durable, tested)', 'pack: tar and sync'],
    ['unpack: restore (durable, checked)', 'unpack: tar'],
    ['unpack: restore (durable, checked)', 'unpack: tar and sync'],
  ] as const) {
    process.stdout.write(`${ratio(times, ours, theirs)}\n`);
  }
  process.stdout.write(`memory at most ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB\n`);
});
