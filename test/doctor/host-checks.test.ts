import { once } from 'node:events';
import { chmod, chown, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { basename, join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { Config } from '../../src/config/config.js';
import { resolveConfig } from '../../src/config/resolve.js';
import { checkHistory } from '../../src/doctor/check-history.js';
import { checkNamedPrograms, checkPrograms } from '../../src/doctor/check-programs.js';
import { checkState } from '../../src/doctor/check-state.js';
import { checkStore } from '../../src/doctor/check-store.js';
import { checkSyslog } from '../../src/doctor/check-syslog.js';
import { orphanedScratch, orphanedSockets } from '../../src/doctor/find-orphans.js';
import { SqliteHistory } from '../../src/history/sqlite-history.js';
import { removeDeadSocketDirectories } from '../../src/path/socket-directory.js';
import { withOpen } from '../image/make-image.js';
import { storeAt } from '../store/fresh-store.js';
import { tempDirOfFile } from '../support/temp-dir-of-file.js';

const dir = tempDirOfFile();

test('a state directory that others may write into is critical: a lease decides which guest is resumed', async () => {
  const state = join(dir, 'state');
  expect((await checkState(state)).level).toBe('ok');
  await mkdir(state, { mode: 0o700 });
  expect((await checkState(state)).level).toBe('ok');
  await chmod(state, 0o777);
  const what = expect.stringContaining('can be written to by others');
  expect(await checkState(state)).toMatchObject({ level: 'critical', what });
});

test('a page of the history that was overwritten is found, though its file still opens', async () => {
  const path = join(dir, 'history.db');
  const history = await SqliteHistory.open(path);
  for (let n = 0; n < 300; n++) await history.rememberStore(`store-${n}-${'x'.repeat(200)}`, `id-${n}`);
  expect((await checkHistory(history)).level).toBe('ok');
  history.close();
  const database = new DatabaseSync(path);
  database.exec('pragma wal_checkpoint(truncate)');
  database.close();
  await withOpen(path, 'r+', async (file) =>
    file.write(Buffer.alloc(4096, 0xa5), 0, 4096, (await file.stat()).size - 4096 * 4),
  );
  const damaged = await SqliteHistory.open(path, { readOnly: true });
  const found = await checkHistory(damaged).finally(() => damaged.close());
  expect(found).toMatchObject({ level: 'critical', facts: { problems: expect.any(Array) } });
  expect((await checkHistory(null)).level).toBe('ok');
});

test('a program is found where PATH says, and counts as missing only where the config needs it', async () => {
  const local = resolveConfig('/c', { stores: { local: { type: 'directory', path: '/x' } } });
  const far = { ...local, stores: { far: { name: 'far', type: 'restic' } } } as unknown as Config;
  const nowhere = checkPrograms(local, dir);
  expect(nowhere).toMatchObject({ level: 'ok', facts: { needed: [] } });
  expect(checkPrograms(far, dir)).toMatchObject({ level: 'critical', mend: 'apt install restic' });
  await writeFile(join(dir, 'restic'), '#!/bin/sh\n', { mode: 0o755 });
  expect(checkPrograms(local, `/nonexistent:${dir}`).facts.missing).not.toContain('restic');
});

test('a program that the config names and that is none is told by its key: critical where backups begin with it, a warning where nobody is told', async () => {
  await writeFile(join(dir, 'there'), '#!/bin/sh\n', { mode: 0o755 });
  await writeFile(join(dir, 'no-program'), '');
  const named = (before: string, alert: string) => {
    const guest = { mconsole: 'debian', disks: { ubd0: { path: '/d' } }, hooks: { before: [before] } };
    const alerts = [{ command: [alert], on: ['failure'] }];
    return checkNamedPrograms(resolveConfig('/c', { guests: { debian: guest }, alerts } as never), dir);
  };
  expect(named('there', join(dir, 'there')).level).toBe('ok');
  expect(named('there', join(dir, 'no-program'))).toMatchObject({
    level: 'warning',
    what: expect.stringContaining('no-program (alerts.0.command)'),
  });
  expect(named('gone', 'there')).toMatchObject({
    level: 'critical',
    facts: { missing: [{ key: 'guests.debian.hooks.before', program: 'gone' }] },
  });
});

test('no syslog is in order, and one that leads nowhere is told', async () => {
  expect(checkSyslog(join(dir, 'nothing')).level).toBe('ok');
  await symlink(join(dir, 'gone'), join(dir, 'log'));
  expect(checkSyslog(join(dir, 'log')).level).toBe('warning');
});

test("sockets that no daemon and no guest of the config has any more are orphans, a living daemon's is none", async () => {
  const state = join(dir, 's');
  await mkdir(join(state, 'notify'), { recursive: true });
  const server = createServer().listen(join(state, 'control.sock'));
  await writeFile(join(state, 'notify/gone.sock'), '');
  await writeFile(join(state, 'notify/debian.sock'), '');
  const pathsOf = (daemonRuns: boolean) =>
    orphanedSockets(state, { daemonRuns, guests: ['debian'] }).map(({ what }) => what);
  const gone = `the socket ${join(state, 'notify/gone.sock')}`;
  expect(pathsOf(true)).toEqual([gone]);
  expect(pathsOf(false)).toEqual([`the socket ${join(state, 'control.sock')}`, gone]);
  await once(server.close(), 'close');
});

test('a directory for answers is an orphan when no socket is bound in it any more, and holds nothing else', async () => {
  const runtime = join(dir, 'run');
  const [bound, left, used] = ['aaaaaa', 'bbbbbb', 'cccccc'].map((name) => join(runtime, `umlsnap-${name}`));
  for (const path of [bound, left, used]) await mkdir(String(path), { recursive: true });
  await writeFile(`${left}/0123456789abcdef`, '');
  await writeFile(`${used}/letters`, '');
  // Somebody else's of such a name is nobody's of ours, whatever it holds.
  const theirs = join(runtime, 'umlsnap-drill-0123456789abcdef');
  await mkdir(theirs);
  if (process.geteuid?.() === 0) await chown(theirs, 65_534, -1);
  else await writeFile(`${theirs}/letters`, '');
  const server = createServer().listen(`${bound}/0123456789abcdef`);
  vi.stubEnv('XDG_RUNTIME_DIR', runtime);
  onTestFinished(async () => {
    vi.unstubAllEnvs();
    await once(server.close(), 'close');
  });
  const found = (at: number) => orphanedScratch(new Date(at)).filter(({ what }) => what.includes(runtime));
  const ofUs = { kind: 'scratch', what: `the directory ${left}`, holdsGuest: false };
  expect(found(Date.now())).toEqual([]);
  expect(found(Date.now() + 120_000)).toEqual([ofUs]);
  await removeDeadSocketDirectories(new Date(Date.now() + 120_000));
  expect((await readdir(runtime)).sort()).toEqual(['umlsnap-aaaaaa', 'umlsnap-cccccc', basename(theirs)]);
});

test('a store that is to be made where there is no directory is told before a backup fails by it', async () => {
  expect(await checkStore(storeAt(join(dir, 'new')), null)).toMatchObject({ level: 'ok' });
  const away = storeAt(join(dir, 'away', 'store'));
  await expect(checkStore(away, null)).rejects.toMatchObject({ code: 'StoreUnusable' });
});
