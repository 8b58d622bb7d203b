import { expect, test } from 'vitest';
import { isConfirmedStopped, type StopSign } from '../../src/guest/stop-probe.js';

/** What a look says, from the first on; the last goes on for ever. */
const looks = (count: number, sign: StopSign) => Array.from({ length: count }, () => sign);

test.each<[what: string, signs: StopSign[], tellsSleepers: boolean, isStopped: boolean]>([
  ['sleeps where a stopped one does', ['stopped'], true, true],
  ['has just answered', [...looks(5, 'running'), 'stopped'], true, true],
  ['waits for a CPU of a busy host', [...looks(200, 'unknown'), 'stopped'], true, true],
  ['sleeps elsewhere', ['running'], true, false],
  ['is at work whenever it is looked at', ['unknown'], true, false],
  ['runs, and stops later by itself', [...looks(200, 'running'), 'stopped'], true, false],
  ['is on a host that does not tell', ['unknown'], false, true],
])('a guest whose main process %s', (_, signs, tellsSleepers, isStopped) => {
  let look = 0;
  const stopSign = () => signs[Math.min(look++, signs.length - 1)] ?? 'unknown';
  expect(isConfirmedStopped({ stopSign, tellsSleepers: () => tellsSleepers })).toBe(isStopped);
});
