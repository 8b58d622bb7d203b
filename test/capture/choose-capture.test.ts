import { describe, expect, test } from 'vitest';
import { type CaptureWish, chooseCapture } from '../../src/capture/choose-capture.js';

const wish: CaptureWish = {
  wanted: 'auto',
  reflink: [
    { device: 'ubd0', probe: { works: true } },
    { device: 'ubd1', probe: { works: true } },
  ],
  dataBytes: 600_000_000,
  bytesPerSecond: 100_000_000,
  budgetMs: 5000,
};
const oneRefuses: CaptureWish['reflink'] = [
  { device: 'ubd0', probe: { works: true } },
  { device: 'ubd1', probe: { works: false, reason: 'ext4 has no reflinks' } },
];

describe('the method of a capture', () => {
  test('is reflink wherever that works for every disk, without a warning', () => {
    expect(chooseCapture(wish)).toEqual({
      method: 'reflink',
      reason: 'the store shares blocks with the disks',
      predictedPauseMs: null,
      warnings: [],
    });
  });

  test('is copy for all disks when one of them refuses, and warns of the pause to expect', () => {
    expect(chooseCapture({ ...wish, reflink: oneRefuses })).toEqual({
      method: 'copy',
      reason: 'no reflink is possible (ubd1: ext4 has no reflinks)',
      predictedPauseMs: 6000,
      warnings: [
        'the guest stands still while 572.2 MiB of data are copied, about 6.0 s, over its budget of 5.0 s',
      ],
    });
  });

  test('is never copy in secret when a reflink was asked for', () => {
    expect(chooseCapture({ ...wish, wanted: 'reflink', reflink: oneRefuses })).toEqual({
      impossible: 'ubd1: ext4 has no reflinks',
    });
  });

  test('is copy when that was asked for, even where a reflink works', () => {
    expect(chooseCapture({ ...wish, wanted: 'copy' })).toMatchObject({
      method: 'copy',
      predictedPauseMs: 6000,
    });
  });

  test('has no predicted pause when the speed is not known, rather than one of zero', () => {
    const choice = chooseCapture({ ...wish, wanted: 'copy', bytesPerSecond: null });
    expect(choice).toMatchObject({
      predictedPauseMs: null,
      warnings: [expect.stringMatching(/a time not known/)],
    });
  });

  test('predicts no pause for a disk that is all hole', () => {
    const choice = chooseCapture({ ...wish, wanted: 'copy', dataBytes: 0, bytesPerSecond: null });
    expect(choice).toMatchObject({ predictedPauseMs: 0 });
  });
});
