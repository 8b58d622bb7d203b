import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';
import { childEnvironment, searchPath } from '../src/child-environment.js';
import { CaptureProcess } from '../src/pause/capture-process.js';
import { runCommand } from '../src/run-command.js';
import { withGuardedFake } from './pause/paused-fake.js';
import { tempDirOfFile } from './support/temp-dir-of-file.js';
import { waitFor } from './support/wait-for.js';

const dir = tempDirOfFile();
/** Not only of this object: threads and children of later tests begin with what the process has. */
afterAll(() => vi.unstubAllEnvs());

/** What loads itself into a process, or keeps one from being what it is. */
async function setWhatLoads(): Promise<void> {
  const loaded = join(dir, 'loaded.cjs');
  await writeFile(loaded, '');
  const set = {
    ...{ NODE_OPTIONS: `--require ${loaded}`, LD_PRELOAD: join(dir, 'none.so'), BASH_ENV: loaded },
    ...{ LC_TIME: 'C', TZ: 'UTC', AWS_SECRET_ACCESS_KEY: 'key', http_proxy: 'http://proxy' },
    RESTIC_PASSWORD: 'other',
  };
  for (const [name, value] of Object.entries(set)) vi.stubEnv(name, value);
}

const passedOn = /^(?:PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|XDG_\w+|NODE_CHANNEL_\w+)$/;

function expectOurMaking(environ: string): void {
  const names = environ.split(/[\0\n]/).flatMap((line) => /^\w+(?==)/.exec(line) ?? []);
  expect(names.filter((name) => !passedOn.test(name))).toEqual([]);
  expect(names).toEqual(expect.arrayContaining(['PATH', 'LC_TIME', 'TZ']));
}

const environOf = (pid = 0) =>
  waitFor('its environment', () => readFileSync(`/proc/${pid}/environ`, 'utf8') || null);

test('nothing that is set where we were started loads itself into the guardian, a capture child or a program', async () => {
  await setWhatLoads();
  await withGuardedFake({}, async ({ guardian }) => expectOurMaking(await environOf(guardian.identity.pid)));
  const capture = await CaptureProcess.arm({
    ...{ guest: 'debian', disks: [], method: 'copy', tracing: null, bytesPerSecond: null },
    ...{ pauseTargetMs: 5, budgetMs: 1000, signal: new AbortController().signal },
  });
  expectOurMaking(await environOf(capture.identity.pid));
  await capture.dispose();
  expectOurMaking((await runCommand(['env'], { timeoutMs: 30_000 })).stdout);
});

test('programs that reach other places get the keys to them besides, but nothing that loads or is for another restic', () => {
  const given = Object.keys(childEnvironment({ UMLSNAP_HOOK: 'before' }, true)).filter(
    (name) => !passedOn.test(name),
  );
  expect(given).toEqual(expect.arrayContaining(['UMLSNAP_HOOK', 'AWS_SECRET_ACCESS_KEY', 'http_proxy']));
  const never = ['NODE_OPTIONS', 'LD_PRELOAD', 'BASH_ENV', 'RESTIC_PASSWORD'];
  expect(given.filter((name) => never.includes(name))).toEqual([]);
});

test('programs of administrators are found from cron too, and none in the directory that we are in', () => {
  const further = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin';
  for (const path of ['', '.::bin', '/usr/bin:/bin'])
    expect(searchPath(path)).toBe(`/usr/bin:/bin:${further}`);
  expect(searchPath('.:/sbin:/opt/bin')).toBe('/sbin:/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin');
});
