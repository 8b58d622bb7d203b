import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Incoming } from '../../src/store/incoming.js';
import { formatManifest, type Manifest, parseManifest, sealManifest } from '../../src/store/manifest.js';
import { draftOf } from './capture-of-tests.js';

const incoming = { guest: 'debian', job: '20261121T031500Z-7f3a' } as Incoming;
const manifest: Manifest = sealManifest({
  ...draftOf(incoming, []),
  kernel: 'Linux debian 6.1.176 "é"',
  pausedMs: 0.30000000000000004,
  definition: {
    ...{ kernelPath: '/usr/bin/linux', args: ['linux', 'umid=a b'], user: { id: 0, name: 'root' } },
    ...{ environment: { HOME: '/root' }, devices: { ubd0: 'root.cow,root.img' }, notes: ['é'] },
  },
  labels: { b: '2', a: '1' },
  disks: [
    {
      ...{ device: 'ubd0', kind: 'cow', sourcePath: '/srv/uml/debian/root.cow', file: 'ubd0.cow' },
      ...{ sizeBytes: 537010176, storedBytes: 102400, mtime: '2026-11-21T03:14:59.999Z' },
      sha256: '0'.repeat(64),
      backing: {
        ...{ sourcePath: '/srv/uml/root.img', file: `${'1'.repeat(64)}.img`, sha256: '1'.repeat(64) },
        ...{ sizeBytes: 536870912, mtime: '2026-01-01T00:00:00.000Z' },
      },
    },
  ],
});
const text = formatManifest(manifest);

it('a manifest is refused when any one byte of it was changed to any other', () => {
  const bytes = Buffer.from(text);
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, by) => {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ by;
      expect(() => parseManifest(changed.toString('utf8'), manifest.snapshot)).toThrow('SnapshotDamaged');
    }),
    { numRuns: 3000 },
  );
});

it('a manifest is refused wherever it was cut off', () => {
  for (let length = 0; length < text.length; length++) {
    expect(() => parseManifest(text.slice(0, length), manifest.snapshot)).toThrow('SnapshotDamaged');
  }
});

it('a manifest is refused with another blank, with a field that we do not know, and in the place of another snapshot', () => {
  const { snapshot } = manifest;
  const blank = text.replace('\n  "guest"', '\n\t"guest"');
  expect(() => parseManifest(blank, snapshot)).toThrow(/SnapshotDamaged.*not as it was written/);
  const more = JSON.stringify({ ...manifest, more: 1 });
  expect(() => parseManifest(more, snapshot)).toThrow(/SnapshotDamaged.*Unrecognized key/s);
  expect(() => parseManifest(text, 'debian@20261122T031500Z')).toThrow('belongs to debian@20261121');
});

it('a manifest of a format that comes after ours is told as that, in one line, and what can not be read by what is wrong', () => {
  const newer = text.replace('"umlsnap/2"', '"umlsnap/3"');
  expect(() => parseManifest(newer, manifest.snapshot)).toThrow(
    /a newer umlsnap has written it \(umlsnap\/3\)/,
  );
  const wrong = text.replace('"pinned": false', '"pinned": 7');
  expect(() => parseManifest(wrong, manifest.snapshot)).toThrow(
    /can't be read: pinned: Invalid input[^\n]*$/,
  );
});

it('a manifest names no file outside its own directory', () => {
  for (const file of ['../ubd0.img', '/etc/shadow', '.hidden', 'a/b', '']) {
    const { checksum: _, ...rest } = manifest;
    const disks = rest.disks.map((disk) => ({ ...disk, file }));
    const forged = JSON.stringify(sealManifest({ ...rest, disks }), null, 2);
    expect(() => parseManifest(`${forged}\n`, manifest.snapshot)).toThrow('plain file name');
  }
});
