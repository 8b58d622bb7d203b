import { expect, test } from 'vitest';
import { snapshotsTable } from '../../src/dashboard/pages/snapshots-table.js';
import { snapshot } from '../history/records-of-tests.js';

test('a snapshot is shown with what each of its copies takes, and of one that shares its data with others none', () => {
  const view = { now: new Date(), hostName: 'h', formToken: null, isLoggedIn: false, refusedSince: null };
  const copies = [
    { ...snapshot('debian@1', { store: 'local' }), storedBytes: 3 * 2 ** 20 },
    { ...snapshot('debian@1', { store: 'archive' }), storedBytes: 2 ** 20 },
    { ...snapshot('debian@1', { store: 'offsite' }), storedBytes: null },
  ];
  const cells = snapshotsTable(view, copies, [])
    .toString()
    .split(/<t[dh][^>]*>/);
  expect(cells).toContain('3 MiB, 1 MiB, –');
  expect(cells).toContain('local, archive, offsite');
});
