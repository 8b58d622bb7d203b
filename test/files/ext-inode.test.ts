import fc from 'fast-check';
import { expect, test } from 'vitest';
import { inodesOf } from '../../src/files/ext-image.js';
import { parseDirectory, parseInode } from '../../src/files/ext-inode.js';

test('the bytes of a directory give the names of its files, and none that leads out of it', () => {
  const names = ['gone', '.', '..', 'etc', '../esc', '/abs', 'a/b', 'nul\0', '...', 'ok'];
  // A file that is gone has the inode 0.
  const entries = names.map((name, inode) => {
    const entry = Buffer.alloc(8 + 4 * Math.ceil(name.length / 4));
    entry.writeUInt32LE(inode, 0);
    entry.writeUInt16LE(entry.length, 4);
    entry.writeUInt8(name.length, 6);
    entry.write(name, 8, 'latin1');
    return entry;
  });
  const found = parseDirectory(Buffer.concat(entries));
  expect(found.map(({ name }) => name.toString())).toEqual(['etc', '...', 'ok']);
});

test('bytes of any kind are read to an end as a directory and as an inode, and never beyond it', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5000 }), (bytes) => {
      for (const { name } of parseDirectory(Buffer.from(bytes))) {
        expect(name.includes('/')).toBe(false);
        expect(name.length).toBeGreaterThan(0);
      }
      parseInode(Buffer.from(bytes));
    }),
  );
});

test('the answer of debugfs is read inode by inode, with lines that are left out as repeated', () => {
  const printed = [
    'debugfs: inode_dump <2>',
    '0000  ed41 0000 0004 0000 f025 0a6b f025 0a6b  .A.......%.k.%.k',
    '0020  0101 0101 0101 0101 0101 0101 0101 0101  ................',
    '*',
    '0060  0202 0202 0202 0202 0202 0202 0202 0202  debugfs: inode_d',
    '*',
    '',
    'debugfs: inode_dump <99999>',
    'debugfs: inode_dump <12>',
    '0000  ff81 0000 0300 0000 f025 0a6b f025 0a6b  .A.......%.k.%.k',
  ].join('\n');
  const found = inodesOf(printed);
  expect([...found.keys()]).toEqual([2, 12]);
  expect(found.get(2)?.subarray(16, 49)).toEqual(Buffer.from([...Array(32).fill(1), 2]));
  const inode = parseInode(found.get(12) ?? Buffer.alloc(0));
  expect(inode).toMatchObject({ type: 'file', mode: 0o777, sizeBytes: 3 });
});
