import { expect, test } from 'vitest';
import { exactDuration, parseDuration } from '../../src/config/duration.js';
import { shownConfig } from '../../src/config/shown-config.js';
import { exactSize, parseSize } from '../../src/config/size.js';
import { loaded } from './write-config.js';

const everything = `state: /s
concurrency: 3
largestSnapshot: 4398046511105B
control: { group: backup }
dashboard: { listen: "[::1]:1", readWithoutToken: true, hosts: [web], tokenFile: /t }
alerts:
  - { command: [/bin/a, b], on: [overdue] }
  - { webhook: "https://x.example/y" }
  - { mail: root }
  - { ping: "https://x.example/z" }
drill: { schedule: "1 2 * * *", sample: 2, kernel: /k, arguments: "a  b", memory: 33MiB, timeout: 61s, hold: 1ms, expect: "l*" }
verify: { within: 1d2h3m, rate: 65537B/s, filesystems: false, scratch: /v, schedule: "1 2 * * *" }
stores:
  d: { type: directory, path: /d }
  t: { type: tar, path: /a, compression: gzip }
  r: { type: restic, repository: "rest:https://joe:secret@x/r", passwordFile: /p }
  q: { type: restic, repository: /r, passwordCommand: [pass, x], environmentFile: /e }
defaults: { store: [d, t], timezone: Europe/Rome, jitter: 90s, hooks: { before: [/bin/true], timeout: 2m } }
guests:
  a: { mconsole: a, disks: { ubd0: /a, ubd1: { path: /b, backing: /c } }, schedule: "1 2 * * *", catchUp: false, user: joe,
       keep: { last: 1, within: 2w1h }, precopyRate: 1GiB/s, labels: { a: b }, requests: [status], drill: { hooks: true } }
  b: { mconsole: /b, disks: { ubd0: /d }, store: t, allowSmp: true, require: crash, notify: /n, notifyOwner: joe }
`;

test('a config is shown in its own keys and units: written down as it is shown, it comes to the same', async () => {
  for (const text of [everything, 'dashboard: false\n']) {
    const { file, ...config } = await loaded(text);
    const shown = shownConfig({ file, ...config });
    expect(shown).not.toContain('secret');
    const { file: _, ...again } = await loaded(shown.replace('(not shown)', 'joe:secret'));
    expect(again).toEqual(config);
  }
});

test('durations and sizes of a config are shown to the last of their digits', () => {
  for (const durationMs of [0, 1, 999, 5000, 90_061_001, 36_525 * 86_400_000])
    expect(parseDuration(exactDuration(durationMs))).toBe(durationMs);
  for (const sizeBytes of [1, 2 ** 20, 2 ** 20 + 1, 10 ** 9])
    expect(parseSize(exactSize(sizeBytes))).toBe(sizeBytes);
});
