import { execFileSync } from 'node:child_process';
import { buffer } from 'node:stream/consumers';
import { type Header, pack } from 'tar-stream';
import { formatManifest, type Manifest } from '../../../src/store/manifest.js';

/** Archives as somebody makes them by hand. */

export type Entry = Partial<Header> & { name: string; body?: Buffer | string };

export async function tarOf(entries: Entry[]): Promise<Buffer> {
  const archive = pack();
  for (const { body, ...header } of entries) {
    if (body === undefined) archive.entry(header);
    else archive.entry(header, body);
  }
  archive.finalize();
  return await buffer(archive as AsyncIterable<Buffer>);
}

export const manifestEntry = (manifest: Manifest): Entry => ({
  name: 'manifest.json',
  body: formatManifest(manifest),
});

export const zstdOf = (bytes: Buffer, ...how: string[]) =>
  execFileSync('zstd', ['-qc', ...how], { input: bytes, maxBuffer: 2 ** 30 });
