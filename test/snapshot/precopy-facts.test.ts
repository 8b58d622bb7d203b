import { expect, test } from 'vitest';
import type { CaptureFacts } from '../../src/capture/capture.js';
import { warningsOfPrecopy } from '../../src/snapshot/precopy-facts.js';

const asHoped: CaptureFacts = {
  ...{ tracker: 'traced', trackerProblem: null, proof: 'held' },
  ...{ precopiedBytes: 2 ** 30, rounds: 3, converged: true, pausedBytes: 4096 },
  ...{ guestBytesPerSecond: 10 * 2 ** 20, copyBytesPerSecond: 2 ** 30 },
  ...{ comparedBytes: null, accountedBytes: 2 ** 20 },
};

test('a precopy that went as it was hoped for is worth no warning, and no precopy neither', () => {
  expect(warningsOfPrecopy(asHoped)).toEqual([]);
  expect(warningsOfPrecopy(null)).toEqual([]);
});

test('a guest that outran the copy is told with both rates, also where one is not known', () => {
  expect(warningsOfPrecopy({ ...asHoped, converged: false, copyBytesPerSecond: 2 ** 20 })).toEqual([
    'the guest wrote faster than it could be copied: about 10MiB/s, and it was copied at 1MiB/s; the rest was copied right before the pause and in it',
  ]);
  expect(warningsOfPrecopy({ ...asHoped, converged: false, guestBytesPerSecond: null })).toEqual([
    expect.stringContaining('an unknown rate'),
  ]);
});

test('tracing that was given up is told with its reason, and not as a guest that was too fast', () => {
  const compared = { ...asHoped, tracker: 'compared', converged: false, trackerProblem: 'why' } as const;
  expect(warningsOfPrecopy(compared)).toEqual([
    'tracing was given up (why): the disks were compared while the guest stood still',
  ]);
});

test('a guest that outran a comparison is told as well, though nobody knows how fast it wrote', () => {
  const compared = { ...asHoped, tracker: 'compared', proof: null, guestBytesPerSecond: null } as const;
  expect(warningsOfPrecopy(compared)).toEqual([]);
  expect(warningsOfPrecopy({ ...compared, converged: false, copyBytesPerSecond: 8 * 2 ** 20 })).toEqual([
    'the guest wrote faster than it could be copied and compared: it was copied at 8MiB/s; the rest was compared and written in the pause',
  ]);
});
