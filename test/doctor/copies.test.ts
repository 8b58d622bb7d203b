import { expect, test } from 'vitest';
import { type CopiesRecord, checkCopies, type KnownCopy } from '../../src/doctor/check-copies.js';

const now = new Date('2026-11-21T12:00:00Z');
const why = 'its last verification found it damaged';

function copy(snapshot: string, store: string, more: Partial<KnownCopy> = {}): KnownCopy {
  const read = { soundness: { type: 'sound' as const }, verifiedAt: '2026-11-20T00:00:00.000Z' };
  return { snapshot, store, takenAt: '2026-11-19T03:15:02.000Z', ...read, ...more };
}
const damaged = { soundness: { type: 'damaged' as const, since: '2026-11-20T00:00:00.000Z', why } };
const gap = {
  guest: 'debian',
  store: 'far',
  newestAt: null,
  missed: 3,
  missedSince: '2026-11-20T03:15:02.000Z',
};

test.each<[string, Partial<CopiesRecord>, string, RegExp, RegExp?]>([
  ['none', {}, 'ok', /^0 copies/],
  ['sound ones', { copies: [copy('a', 'local'), copy('a', 'far')] }, 'ok', /^2 copies of snapshots\.$/],
  [
    'one that nobody has read, without a schedule',
    { copies: [copy('a', 'local', { verifiedAt: null })] },
    'ok',
    /1 never verified/,
  ],
  [
    'the same past the time in which all are read',
    { copies: [copy('a', 'local', { verifiedAt: null })], verifiedWithinMs: 86_400_000 },
    'warning',
    /1 copy older than 1d never verified/,
    /verify --guest debian/,
  ],
  [
    'a damaged one beside a sound one',
    { copies: [copy('a', 'local', damaged), copy('a', 'far')] },
    'warning',
    /^a in store local: damaged/,
    /verify a --heal/,
  ],
  [
    'a snapshot of which no copy is sound',
    { copies: [copy('a', 'local', damaged), copy('b', 'far')] },
    'critical',
    /a in store local/,
    /remove a/,
  ],
  ['a store that lags', { gaps: [gap] }, 'warning', /store far lacks the last 3 snapshots/, /history debian/],
  ['one that lags since a moment', { gaps: [{ ...gap, missed: 1 }] }, 'ok', /^0 copies/],
])('what lies in the stores is looked at, not what ran: %s', (_, more, level, what, mend) => {
  const found = checkCopies({ guest: 'debian', copies: [], gaps: [], verifiedWithinMs: null, ...more }, now);
  expect(found).toMatchObject({ level, what: expect.stringMatching(what) });
  if (mend) expect(found.mend).toMatch(mend);
});
