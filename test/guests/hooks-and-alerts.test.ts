import { chmod, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { RealGuest } from '../support/real-guest.js';
import { TestDaemon } from '../support/test-daemon.js';
import { expectRunning, settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** Programs of the host around backups of a real guest, and those who are told by a daemon what became of them. */

let house: TestHouse;
let guest: RealGuest;
let log: string;

beforeAll(async () => {
  house = await TestHouse.build();
  guest = await house.boot();
  log = join(house.dir, 'hooks.log');
});
afterAll(() => house.remove());
afterEach(async () => {
  await expectRunning(guest);
  await house.expectAllWell();
  await writeFile(log, '');
});

async function script(name: string, text: string): Promise<[string]> {
  const path = join(house.dir, name);
  await writeFile(path, `#!/bin/sh\n${text}\n`);
  await chmod(path, 0o755);
  return [path];
}

const note =
  'echo "$UMLSNAP_HOOK guest=$UMLSNAP_GUEST job=$UMLSNAP_JOB phase=$UMLSNAP_PHASE snapshot=$UMLSNAP_SNAPSHOT paused=$UMLSNAP_PAUSED_MS error=$UMLSNAP_ERROR_CODE"';
const noted = async () => (await readFile(log, 'utf8')).split('\n').slice(0, -1);

async function configureHooks(hooks: Record<string, unknown>, more: Record<string, unknown> = {}) {
  const each = await script('note', `${note} >> ${log}`);
  await house.configure({
    one: settingsOf(guest, { hooks: { before: each, after: each, failed: each, ...hooks }, ...more }),
  });
}

async function snapshot(...options: string[]) {
  const { exitCode, json, stderr } = await house.run(['--json', 'snapshot', 'one', ...options]);
  return { exitCode, stderr, summary: json.find(({ type }) => type === 'summary') ?? {} };
}

describe('hooks', () => {
  test('run before and after a backup, and know what came of it', async () => {
    await configureHooks({});
    const { exitCode, summary } = await snapshot();
    expect(exitCode).toBe(0);
    const { job, snapshot: name, pausedMs } = summary;
    expect(await noted()).toEqual([
      `before guest=one job=${job} phase=before snapshot= paused= error=`,
      `after guest=one job=${job} phase=retain snapshot=${name} paused=${pausedMs} error=`,
    ]);
    const log = (await house.run(['--json', 'show', String(job)])).json[0]?.log as { text: string }[];
    const steps = log.map(({ text }) => /^(hook \w+|\w+): done/.exec(text)?.[1]).filter(Boolean);
    expect([steps[0], steps[1], steps.at(-2), steps.at(-1)]).toEqual([
      ...['hook before', 'preflight', 'retain', 'hook after'],
    ]);
  });

  test('that fail before it are the reason why there is no backup: the guest is not touched', async () => {
    await configureHooks({ before: await script('no', 'echo "the mirror is away" >&2; exit 7') });
    const { exitCode, summary, stderr } = await snapshot();
    expect(exitCode).toBe(1);
    expect(summary).toMatchObject({
      status: 'failed',
      error: { code: 'HookFailed' },
      pausedMs: null,
      phases: [],
    });
    expect(stderr).toMatch(/hook `before` of guest one \(no\) failed: exit 7: the mirror is away/);
    expect(await noted()).toEqual([
      `failed guest=one job=${summary.job} phase=backup snapshot= paused= error=HookFailed`,
    ]);
  });

  test('that fail after it are a warning, and the snapshot stays', async () => {
    await configureHooks({ after: await script('late', 'exec sleep 1000'), timeout: '1s' });
    const { exitCode, summary } = await snapshot();
    expect(exitCode).toBe(3);
    expect(summary.warnings).toEqual([
      expect.stringMatching(/hook `after` of guest one .* did not end within 1000 ms/),
    ]);
    expect(await house.listed()).toContainEqual(
      expect.objectContaining({ snapshot: summary.snapshot, state: 'sound' }),
    );
  });

  test('are told of a backup that was interrupted in the one before it', async () => {
    await configureHooks({ before: await script('slow', `echo begun >> ${log}; exec sleep 1000`) });
    const cli = house.start(['--json', 'snapshot', 'one']);
    await waitFor('the hook to run', async () => (await noted()).includes('begun'));
    cli.kill('SIGINT');
    expect((await cli.exited).exitCode).toBe(130);
    expect((await noted()).at(-1)).toMatch(/^failed .* error=Interrupted$/);
  });

  test('run for no dry run', async () => {
    await configureHooks({});
    await snapshot('--dry-run');
    expect(await noted()).toEqual([]);
  });
});

test('a daemon tells of a failure once, of its end, and of nothing that goes well', async () => {
  const told = join(house.dir, 'told');
  await writeFile(told, '');
  const alerts = [{ command: await script('tell', `cat >> ${told}`) }];
  const settings = settingsOf(guest, { schedule: '*/2 * * * * *', timezone: 'UTC' });
  await house.configure({ one: settings }, { alerts });
  const daemon = await TestDaemon.start(house);
  try {
    await daemon.untilLogged(/^backup done$/);
    const moved = `${house.store}.away`;
    await rename(house.store, moved);
    await daemon.untilLogged(/^backup failed$/, 1);
    await rename(moved, house.store);
    await daemon.untilLogged(/^backup done$/, daemon.logged(/^backup done$/).length);
    const alertsTold = await waitFor('two alerts', async () => {
      const lines = (await readFile(told, 'utf8')).split('\n').slice(0, -1);
      return lines.length >= 2 && lines.map((line) => JSON.parse(line));
    });
    expect(alertsTold.map(({ kind, guest }) => [kind, guest])).toEqual([
      ['failure', 'one'],
      ['recovery', 'one'],
    ]);
    expect(alertsTold[0].text).toMatch(/store/i);
  } finally {
    await daemon.end();
  }
});
