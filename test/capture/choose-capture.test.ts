import { describe, expect, test } from 'vitest';
import { type CaptureWish, chooseCapture } from '../../src/capture/choose-capture.js';

const wish: CaptureWish = {
  wanted: 'auto',
  wantedTracker: 'auto',
  reflink: [
    { device: 'ubd0', probe: { works: true } },
    { device: 'ubd1', probe: { works: true } },
  ],
  tracing: null,
  dataBytes: 600_000_000,
  bytesPerSecond: 100_000_000,
  pauseTargetMs: 5,
  budgetMs: 5000,
};
const oneRefuses: CaptureWish['reflink'] = [
  { device: 'ubd0', probe: { works: true } },
  { device: 'ubd1', probe: { works: false, reason: 'ext4 has no reflinks' } },
];

const untraced: CaptureWish['tracing'] = { works: false, reason: 'tracefs is not mounted' };

describe('the method of a capture', () => {
  test('is reflink wherever that works for every disk, without a warning', () => {
    expect(chooseCapture(wish)).toEqual({
      method: 'reflink',
      tracker: null,
      reason: 'the store shares blocks with the disks',
      predictedPauseMs: null,
      warnings: [],
    });
  });

  test('is a traced precopy for all disks when one of them refuses a reflink, without a warning', () => {
    expect(chooseCapture({ ...wish, reflink: oneRefuses, tracing: { works: true } })).toEqual({
      method: 'precopy',
      tracker: 'traced',
      reason: 'no reflink is possible (ubd1: ext4 has no reflinks)',
      predictedPauseMs: null,
      warnings: [],
    });
  });

  test('is a compared precopy where nothing can be traced either, and warns of the pause to expect', () => {
    expect(chooseCapture({ ...wish, reflink: oneRefuses, tracing: untraced })).toEqual({
      method: 'precopy',
      tracker: 'compared',
      reason:
        "no reflink is possible (ubd1: ext4 has no reflinks); writes can't be traced (tracefs is not mounted)",
      predictedPauseMs: 6000,
      warnings: [
        'the guest stands still while 572.2 MiB of data are compared, about 6.0 s, over its budget of 5.0 s',
      ],
    });
  });

  test('is copy where a copy is as short as a precopy could hope to be, with all the reasons', () => {
    const small = { ...wish, reflink: oneRefuses, tracing: untraced, dataBytes: 500_000 };
    expect(chooseCapture(small)).toMatchObject({
      method: 'copy',
      tracker: null,
      reason:
        "no reflink is possible (ubd1: ext4 has no reflinks); writes can't be traced (tracefs is not mounted); there is so little data that comparing it is no faster",
      predictedPauseMs: 5,
    });
    // Not even then, if a precopy was asked for, or as soon as it takes longer.
    expect(chooseCapture({ ...small, wanted: 'precopy' })).toMatchObject({ method: 'precopy' });
    expect(chooseCapture({ ...small, dataBytes: 600_000 })).toMatchObject({ method: 'precopy' });
    expect(chooseCapture({ ...small, bytesPerSecond: null })).toMatchObject({ method: 'precopy' });
  });

  test('is never another in secret when a reflink or tracing was asked for', () => {
    expect(chooseCapture({ ...wish, wanted: 'reflink', reflink: oneRefuses })).toEqual({
      impossible: 'ubd1: ext4 has no reflinks',
    });
    for (const wanted of ['auto', 'precopy'] as const) {
      const traced = { ...wish, wanted, wantedTracker: 'traced', reflink: oneRefuses } as const;
      expect(chooseCapture({ ...traced, tracing: untraced })).toEqual({
        impossible: "writes can't be traced (tracefs is not mounted)",
      });
    }
  });

  test('is precopy when that was asked for, even where a reflink works, by the tracker that was asked for', () => {
    const asked = { ...wish, wanted: 'precopy', tracing: { works: true } } as const;
    expect(chooseCapture(asked)).toMatchObject({
      ...{ method: 'precopy', tracker: 'traced', reason: 'the config asks for a precopy' },
    });
    expect(chooseCapture({ ...asked, wantedTracker: 'compared' })).toMatchObject({
      ...{ method: 'precopy', tracker: 'compared', predictedPauseMs: 6000 },
      reason: 'the config asks for a precopy; precopyTracker asks for comparing',
    });
  });

  test('is copy when that was asked for, even where a reflink works, and warns of its pause, over the budget', () => {
    expect(chooseCapture({ ...wish, wanted: 'copy' })).toMatchObject({
      ...{ method: 'copy', predictedPauseMs: 6000 },
      warnings: [
        'the guest stands still while 572.2 MiB of data are copied, about 6.0 s, over its budget of 5.0 s',
      ],
    });
  });

  test('has no predicted pause when the speed is not known, rather than one of zero, as of a disk that is all hole', () => {
    const unknown = { ...wish, wanted: 'copy', bytesPerSecond: null } as const;
    const warnings = [expect.stringMatching(/a time not known/)];
    expect(chooseCapture(unknown)).toMatchObject({ predictedPauseMs: null, warnings });
    expect(chooseCapture({ ...unknown, dataBytes: 0 })).toMatchObject({ predictedPauseMs: 0 });
  });
});
