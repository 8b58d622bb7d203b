import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load-config.js';
import { LiveConfig } from '../../src/daemon/live-config.js';
import { configFile } from '../config/write-config.js';

test('a config that is refused leaves the one before in force, and is told until a good one is read, which is then in force', async () => {
  const file = await configFile('state: /s\nconcurrency: 3\n');
  const readAt = new Date(0);
  const live = new LiveConfig(await loadConfig(file), readAt);
  const refusals = [
    ['concurrency: 0\n', /concurrency/],
    ['state: /other\n', /state: is \/other, and was \/s: restart the daemon/],
    ['', /empty/],
  ] as const;
  for (const [text, problem] of refusals) {
    await writeFile(file, text);
    expect(await live.readAgain()).toBe(false);
    expect(live.refused).toMatchObject({ code: 'ConfigInvalid', problem: expect.stringMatching(problem) });
    expect([live.get().concurrency, live.readAt]).toEqual([3, readAt.toISOString()]);
  }
  await writeFile(file, 'state: /s\nconcurrency: 4\n');
  expect(await live.readAgain()).toBe(true);
  expect([live.get().concurrency, live.refused]).toEqual([4, null]);
  expect(live.readAt).not.toBe(readAt.toISOString());
});
