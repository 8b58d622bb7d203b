import { readFile, rm, writeFile } from 'node:fs/promises';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { setScene } from '../support/scene.js';
import { TestDaemon } from '../support/test-daemon.js';
import { waitFor } from '../support/wait-for.js';

/** Programs of the host around backups of a real guest, and those who are told by a daemon what became of them. */

const scene = setScene({ on: 'xfs' });
let note: [string];

beforeAll(async () => {
  const words =
    '$UMLSNAP_HOOK guest=$UMLSNAP_GUEST job=$UMLSNAP_JOB phase=$UMLSNAP_PHASE snapshot=$UMLSNAP_SNAPSHOT paused=$UMLSNAP_PAUSED_MS error=$UMLSNAP_ERROR_CODE';
  note = await script('note', `echo "${words}" >> ${scene.path('noted')}`);
});
afterEach(async () => {
  await scene.expectWell();
  await rm(scene.path('noted'), { force: true });
});

async function script(name: string, text: string): Promise<[string]> {
  await writeFile(scene.path(name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return [scene.path(name)];
}

const linesOf = async (name: string) =>
  (await readFile(scene.path(name), 'utf8').catch(() => '')).split('\n').slice(0, -1);
const noted = () => linesOf('noted');

const configureHooks = (other: Record<string, unknown> = {}) =>
  scene.configure({
    debian: scene.settings({ hooks: { before: note, after: note, failed: note, ...other } }),
  });

test('hooks run before and after a backup, and know what came of it', async () => {
  await configureHooks();
  const { exitCode, summary } = await scene.snapshot();
  expect(exitCode).toBe(0);
  const { job, snapshot, pausedMs } = summary;
  expect(await noted()).toEqual([
    `before guest=debian job=${job} phase=before snapshot= paused= error=`,
    `after guest=debian job=${job} phase=retain snapshot=${snapshot} paused=${pausedMs} error=`,
  ]);
  const details = await scene.withHistory((history) => history.job(String(job)));
  const done = (details?.log ?? []).flatMap(({ text }) => /^(hook \w+|\w+): done/.exec(text)?.[1] ?? []);
  expect(done.slice(0, 2)).toEqual(['hook before', 'preflight']);
  expect(done.slice(-2)).toEqual(['retain', 'hook after']);
});

test('one that fails before it is the reason why there is no backup: the guest is not touched', async () => {
  await configureHooks({ before: await script('no', 'echo "the mirror is away" >&2; exit 7') });
  const { exitCode, summary, stderr } = await scene.snapshot();
  expect(exitCode).toBe(1);
  const error = { code: 'HookFailed' };
  expect(summary).toMatchObject({ status: 'failed', error, pausedMs: null, phases: [] });
  expect(stderr).toMatch(/hook `before` of guest debian \(no\) failed: exit 7: the mirror is away/);
  expect(await noted()).toEqual([
    `failed guest=debian job=${summary.job} phase=backup snapshot= paused= error=HookFailed`,
  ]);
});

test('one that fails after it is a warning, and the snapshot stays', async () => {
  const after = await script('late', 'exec sleep 1000');
  // No other hook: one that is well may need longer than that.
  await scene.configure({ debian: scene.settings({ hooks: { after, timeout: '1s' } }) });
  const { exitCode, summary } = await scene.snapshot();
  expect(exitCode).toBe(3);
  const late = expect.stringMatching(/hook `after` of guest debian .* did not end within 1000 ms/);
  expect(summary.warnings).toEqual([late]);
  expect(await scene.snapshots()).toContain(summary.snapshot);
});

test('they are told of a backup that was interrupted in the one before it, and run for no dry run', async () => {
  const slow = `echo begun >> ${scene.path('noted')}; exec sleep 1000`;
  await configureHooks({ before: await script('slow', slow) });
  await scene.snapshot('--dry-run');
  expect(await noted()).toEqual([]);
  const cli = scene.startSnapshot();
  await waitFor('the hook to run', async () => (await noted()).includes('begun'));
  cli.kill('SIGINT');
  expect((await cli.exited).exitCode).toBe(130);
  expect((await noted()).at(-1)).toMatch(/^failed .* error=Interrupted$/);
});

test('a daemon tells of a failure once, of its end, and of nothing that goes well', async () => {
  const alerts = [{ command: await script('tell', `cat >> ${scene.path('told')}`) }];
  const told = async () => (await linesOf('told')).map((line) => JSON.parse(line));
  const { store } = scene;
  // Before a backup: one that is at work has its store.
  const turn = `if [ -e ${scene.path('away')} ]; then mv ${store} ${store}.away; else mv ${store}.away ${store}; fi`;
  const before = await script('turn', `${turn} 2> /dev/null; exit 0`);
  const settings = scene.settings({ schedule: '* * * * * *', hooks: { before } });
  await scene.configure({ debian: settings }, { alerts });
  const daemon = await TestDaemon.start(scene);
  await daemon.untilLogged(/^backup done$/);
  await writeFile(scene.path('away'), '');
  await daemon.untilLogged(/^backup failed$/, 1);
  await waitFor('an alert', async () => (await linesOf('told')).length > 0);
  await rm(scene.path('away'));
  await waitFor('two alerts', async () => (await linesOf('told')).length >= 2);
  await daemon.untilLogged(/^backup done$/, daemon.logged(/^backup done$/).length);
  await daemon.end();
  expect(await told()).toMatchObject([
    { kind: 'failure', guest: 'debian', text: expect.stringMatching(/store/i) },
    { kind: 'recovery', guest: 'debian' },
  ]);
});
