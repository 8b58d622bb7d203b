import { describe, expect, test } from 'vitest';
import { type CaptureWish, chooseCapture } from '../../src/capture/choose-capture.js';

const works = { works: true } as const;
const shared = [
  { device: 'ubd0', probe: works },
  { device: 'ubd1', probe: works },
];

/** Chooses for two disks that share blocks with the store, 600 MB of data in all, that copy in 6 s. */
const chosen = (changes: Partial<CaptureWish>) =>
  chooseCapture({
    ...{ wanted: 'auto', wantedTracker: 'auto', reflink: shared, tracing: null },
    ...{ dataBytes: 600_000_000, bytesPerSecond: 100_000_000, pauseTargetMs: 5, budgetMs: 5000 },
    ...changes,
  });

const oneRefuses: CaptureWish['reflink'] = [
  { device: 'ubd0', probe: works },
  { device: 'ubd1', probe: { works: false, reason: 'ext4 has no reflinks' } },
];
const noReflink = 'no reflink is possible (ubd1: ext4 has no reflinks)';
const untraced = {
  reflink: oneRefuses,
  tracing: { works: false, reason: 'tracefs is not mounted' },
} as const;
const noTracing = "writes can't be traced (tracefs is not mounted)";
const inMilliseconds = { predictedPauseMs: null, warnings: [] };
const inSeconds = (verb: string) => ({
  predictedPauseMs: 6000,
  warnings: [
    `the guest stands still while 572.2 MiB of data are ${verb}, about 6.0 s, over its budget of 5.0 s`,
  ],
});

describe('the method of a capture', () => {
  test('is reflink wherever that works for every disk, without a warning', () => {
    const reason = 'the store shares blocks with the disks';
    expect(chosen({})).toEqual({ method: 'reflink', tracker: null, reason, ...inMilliseconds });
  });

  test('is a traced precopy for all disks when one of them refuses a reflink, without a warning', () => {
    const traced = { method: 'precopy', tracker: 'traced', reason: noReflink, ...inMilliseconds };
    expect(chosen({ reflink: oneRefuses, tracing: works })).toEqual(traced);
  });

  test('is a compared precopy where nothing can be traced either, and warns of the pause to expect', () => {
    const compared = { method: 'precopy', tracker: 'compared', ...inSeconds('compared') };
    expect(chosen(untraced)).toEqual({ ...compared, reason: `${noReflink}; ${noTracing}` });
  });

  test('is copy where a copy is as short as a precopy could hope to be, with all the reasons', () => {
    const small = { ...untraced, dataBytes: 500_000 };
    expect(chosen(small)).toMatchObject({
      ...{ method: 'copy', tracker: null, predictedPauseMs: 5 },
      reason: `${noReflink}; ${noTracing}; there is so little data that comparing it is no faster`,
    });
    // Not even then, if a precopy was asked for, or as soon as it takes longer.
    for (const change of [{ wanted: 'precopy' }, { dataBytes: 600_000 }, { bytesPerSecond: null }] as const) {
      expect(chosen({ ...small, ...change })).toMatchObject({ method: 'precopy' });
    }
  });

  test('is never another in secret when a reflink or tracing was asked for', () => {
    const unlinked = chosen({ wanted: 'reflink', reflink: oneRefuses });
    expect(unlinked).toEqual({ impossible: 'ubd1: ext4 has no reflinks' });
    for (const wanted of ['auto', 'precopy'] as const) {
      expect(chosen({ ...untraced, wanted, wantedTracker: 'traced' })).toEqual({ impossible: noTracing });
    }
  });

  test('is precopy or copy when that was asked for, even where a reflink works, by the tracker that was asked for', () => {
    const asked = { wanted: 'precopy', tracing: works } as const;
    const reason = 'the config asks for a precopy';
    expect(chosen(asked)).toMatchObject({ method: 'precopy', tracker: 'traced', reason });
    expect(chosen({ ...asked, wantedTracker: 'compared' })).toMatchObject({
      ...{ method: 'precopy', tracker: 'compared', predictedPauseMs: 6000 },
      reason: `${reason}; precopyTracker asks for comparing`,
    });
    expect(chosen({ wanted: 'copy' })).toMatchObject({ method: 'copy', ...inSeconds('copied') });
  });

  test('has no predicted pause when the speed is not known, rather than one of zero, as of a disk that is all hole', () => {
    const unknown = { wanted: 'copy', bytesPerSecond: null } as const;
    const warnings = [expect.stringMatching(/a time not known/)];
    expect(chosen(unknown)).toMatchObject({ predictedPauseMs: null, warnings });
    expect(chosen({ ...unknown, dataBytes: 0 })).toMatchObject({ predictedPauseMs: 0 });
  });
});
