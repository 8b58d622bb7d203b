import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, readdir, readFile, readlink, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import type { Finding } from '../../src/doctor/finding.js';
import { DirectoryStore } from '../../src/store/directory-store.js';
import { sha256sum } from '../image/make-image.js';
import { sealSparse } from '../store/sparse-snapshots.js';
import { drillKernel } from '../support/drill-kernel.js';
import { bootedLine, buildRootfs } from '../support/guest-image.js';
import { readOrNothing } from '../support/guest-processes.js';
import { mergeCow, readFileFromImage } from '../support/inspect-image.js';
import { runTool } from '../support/run-tool.js';
import { setScene } from '../support/scene.js';
import { storeImage } from '../support/stored-image.js';
import { dueAtOnce, TestDaemon } from '../support/test-daemon.js';
import { waitFor } from '../support/wait-for.js';

/** A user that no process has but those of drills of this file: that of the config is every drill's. */
const user = 1_879_050_004;
const isRoot = process.getuid?.() === 0;
const secret = 'a secret of the host';

const scene = setScene({ on: 'xfs', guest: null });
let kernel: string;

beforeAll(async () => {
  kernel = await drillKernel(scene.dir);
  await writeFile(scene.path('secret'), secret, { mode: 0o644 });
  await scene.own();
  await configure();
});

async function configure(more: object = {}, guests = {}): Promise<void> {
  const usual = { kernel, user, memory: '96MiB', expect: bootedLine, hold: '1s', timeout: '90s' };
  await scene.configure(guests, { drill: { ...usual, ...more } });
}

/** In requests of many groups of 4 KiB. */
const readUbd1 = 'dd if=/dev/ubdb bs=64k 2>/dev/null | sha256sum';

/** Every second block of 1 KiB of a file goes into the COW file: the others stay in the backing file. */
const mixBlocks = `i=0; while [ $i -lt 128 ]; do
  dd if=/dev/urandom of=/ubd1/filler bs=1k count=1 seek=$((i * 2)) conv=notrunc 2>/dev/null; i=$((i + 1)); done`;

/** What the disk is by UML's own tool, and the file on it by debugfs: their SHA-256. */
async function merged(cow: string, backing: string): Promise<{ disk: string; filler: string }> {
  const image = scene.path('merged.img');
  await mergeCow(cow, backing, image);
  const filler = (await readFileFromImage(image, '/filler')) ?? '';
  const disk = await sha256sum(image);
  await rm(image);
  return { disk, filler: createHash('sha256').update(filler).digest('hex') };
}

/** What a root in the guest can find out about the host that it is drilled on. Outside of a box it asks for nothing: there it could. */
const spyScript = () => [
  'mkdir -p /tmp/host && mount -t hostfs none /tmp/host -o /',
  `spy() {
    cat /tmp/host${scene.path('secret')}
    echo "root: $(ls /tmp/host | tr '\\n' ' ')"
    echo "etc: $(ls /tmp/host/etc /tmp/host/root /tmp/host/home 2>&1 | grep -v 'No such')"
    echo "host processes: $(ls /tmp/host/proc | grep -c '^[0-9]')"
    dd if=/dev/zero of=/tmp/host/h/fill bs=64k count=64
    for d in usr disks .; do touch /tmp/host/$d/x; done
    grep MemTotal /proc/meminfo
    echo "interfaces: $(ls /sys/class/net | tr '\\n' ' ')"
    echo "ubd1: $(${readUbd1})"
  }`,
  '[ ! -d /tmp/host/disks ] || spy > /dev/console 2>&1',
];

/** A hook in the guest, for its agent. */
const hookScript = (name: string, line: string) =>
  `mkdir -p /etc/umlsnap/drill.d; printf '#!/bin/sh\\n${line}\\n' > /etc/umlsnap/drill.d/${name}; chmod 755 /etc/umlsnap/drill.d/${name}`;

type Summary = Record<string, unknown> & { console: string[]; error: { message: string } | null };

async function drill(snapshot: string) {
  const { exitCode, json, stderr } = await scene.run('--json', 'drill', snapshot);
  const summary = json.find(({ type }) => type === 'summary') as Summary | undefined;
  if (!summary) throw new Error(`no summary: ${JSON.stringify(json)} ${stderr}`);
  return { ...summary, exitCode, text: summary.error?.message ?? '' };
}

const scratch = () => join(scene.state, 'drill');
/** Beside the file by which it is locked. */
const copies = async () => (await readdir(scratch())).filter((name) => name.includes('-'));
/** Of the drill that was last seen in its box. */
let sockets = '';

/** Nothing of a drill is left: no process of its user, no directory, no socket. */
async function expectNothingLeft(): Promise<void> {
  // Dead at once, and buried soon.
  await waitFor('the box to be gone', () => pidsOfDrill().length === 0, { limitMs: 5_000 });
  expect(await copies()).toEqual([]);
  expect(existsSync(sockets)).toBe(false);
}

function pidsOfDrill(): number[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const isOurs = (pid: string) =>
    new RegExp(`^Uid:\\s+${user}\\b`, 'm').test(readOrNothing(`/proc/${pid}/status`));
  return pids.filter(isOurs).map(Number);
}

/** A snapshot of a guest that there never was, whose disk can be booted but for what `change` does to it. */
async function stored(name: string, change: (image: string) => Promise<unknown> = async () => {}) {
  await mkdir(scene.path(name));
  const image = await buildRootfs(scene.path(name), { sizeMiB: 24, writer: 'none' });
  await change(image);
  await storeImage(scene.store, name, image, new Date('2026-01-02T03:04:05Z'));
  return `${name}@latest`;
}

/** From its beginning on. */
const overwrite = (image: string, length: number) => writeFile(image, 'x'.repeat(length), { flag: 'r+' });

async function script(name: string, line: string): Promise<string> {
  await writeFile(scene.path(name), `#!/bin/sh\n${line}\n`, { mode: 0o755 });
  return scene.path(name);
}

test("a running guest's snapshot of two COW pairs, one of which UML reads wrong, passes on the disks as they were written, is left as it was, and shows the guest nothing of the host", async () => {
  const rc = [...spyScript(), hookScript('10-ready', 'exit 0')];
  const guest = await scene.boot({ cow: true, disks: [{ sizeMiB: 16, cow: true }], agent: 'busybox', rc });
  await configure({}, { debian: scene.settings({ require: 'crash', drill: { hooks: true } }) });
  // A drill of such a pair would prove nothing (uml-facts, fact 15): neither the disk is read as it is, nor a file on it.
  const read = await guest.sh(`${mixBlocks}; umount /ubd1 && ${readUbd1}`);
  const { path: cowPath = '', backing: base = '' } = guest.disks[1] ?? {};
  const written = await merged(cowPath, base);
  expect(read).not.toContain(written.disk);
  expect(await guest.sh('mount /dev/ubdb /ubd1; sha256sum < /ubd1/filler')).not.toContain(written.filler);
  await guest.sh('echo "kept by the guest" > /ubd1/kept; sync');
  const { summary, stderr } = await scene.snapshot();
  expect(summary.snapshot, stderr).not.toBe(null);
  const [listed] = await scene.listed();
  const files = ['ubd0.cow', 'ubd1.cow'].map((name) => join(listed?.directory ?? '', name));
  const look = async (file: string) => {
    const { atimeMs: _, atime: __, ...rest } = await stat(file);
    return { ...rest, sha256: await sha256sum(file) };
  };
  const before = await Promise.all(files.map(look));
  const right = await merged(files[1] ?? '', base);
  const { json } = await scene.run('doctor', 'debian', '--no-stop-go', '--json');
  const found = (json as object[] as Finding[]).find(({ check }) => check === 'cow');
  expect(found).toMatchObject({
    level: 'warning',
    what: expect.stringMatching(/\bubd1: \d+ groups of 4 KiB/),
  });

  const passed = await drill('debian@latest');
  const steps = ['restore', 'start', 'kernel', 'init', 'expect', 'hooks'].map((step) => ({ step }));
  expect(passed, passed.text).toMatchObject({ exitCode: 0, drill: 'passed', foundLine: bootedLine, steps });
  expect(await Promise.all(files.map(look))).toEqual(before);
  await expectNothingLeft();

  const console = passed.console.join('\n');
  expect(console).toMatch(new RegExp(`^ubd1: ${right.disk}\\b`, 'm'));
  expect(console).not.toContain(secret);
  expect(console).toMatch(
    /^root: (?:(?:bin|dev|disks|h|kernel|lib|lib32|lib64|libx32|proc|run|sbin|usr) )+$/m,
  );
  expect(console).toMatch(/^etc: $/m);
  expect(Number(/host processes: (\d+)/.exec(console)?.[1])).toBeLessThan(40);
  expect(console).toContain('No space left on device');
  expect(console.match(/touch: .*(?:Read-only|denied)/g), console).toHaveLength(3);
  expect(console).toMatch(/^interfaces: lo $/m);
  expect(Number(/MemTotal: +(\d+) kB/.exec(console)?.[1])).toBeLessThan(96 * 1024);
});

test('it is shown with its snapshot, step by step, whose files can be looked at, also what only the journal of a running guest holds', async () => {
  const shown = await scene.run('show', 'debian@latest');
  expect(shown.stdout).toMatch(/^drilled +passed, /m);
  const { stdout } = await scene.run('show', (await scene.newestJob()).job);
  expect(stdout).toMatch(/restore[\s\S]*start[\s\S]*kernel[\s\S]*init[\s\S]*expect/);
  expect(stdout).toContain(`| ${bootedLine}`);
  const path = ['--disk', 'ubd1', '--path', '/kept', '--to', scene.path('kept')];
  expect((await scene.run('restore', 'debian@latest', ...path)).stderr).toBe('');
  expect(await readFile(scene.path('kept/kept'), 'utf8')).toBe('kept by the guest\n');
  const files = await scene.run('files', 'debian@latest', '/etc/umlsnap/drill.d');
  expect(files.stdout).toContain('10-ready');
});

test('it fails where a hook of the agent does, by the words of the hook', async () => {
  await scene.guest.sh(hookScript('20-db', 'echo no table of users; exit 7'));
  expect((await scene.snapshot()).summary.error).toBe(null);
  await scene.expectWell();
  await scene.guest.kill();
  const failed = await drill('debian@latest');
  expect(failed).toMatchObject({ status: 'failed', drill: 'failed', error: { phase: 'hooks' } });
  expect(failed.text).toContain('its hook 20-db failed with 7: no table of users');
});

test.each<[string, string, (image: string) => Promise<unknown>, RegExp]>([
  [
    ...(['an init that can not be run', 'noinit'] as const),
    // By e2fsprogs, no root needed.
    (image) => runTool('debugfs', ['-w', '-R', 'rm /bin/busybox', image]),
    /there is no init that can be run.*No working init found/s,
  ],
  [
    ...(['a superblock that is lost', 'lost'] as const),
    (image) => overwrite(image, 2048),
    /its root filesystem can't be mounted/,
  ],
  [
    ...(['an image that was captured too short', 'short'] as const),
    (image) => truncate(image, 12 * 2 ** 20),
    /its root filesystem can't be mounted .*bad geometry/,
  ],
])('it tells %s from everything else', async (_, name, change, said) => {
  await configure();
  const failed = await drill(await stored(name, change));
  const error = { code: 'DrillFailed', phase: 'init' };
  expect(failed).toMatchObject({ exitCode: 1, status: 'failed', drill: 'failed', error });
  expect(failed.text + failed.console.join('\n')).toMatch(said);
  await expectNothingLeft();
});

test('it does not boot a snapshot whose image was changed or cut short since, or is a COW file of no pair, and says which', async () => {
  const name = await stored('changed');
  const file = join(scene.store, 'changed', '20260102T030405Z', 'ubd0.img');
  await overwrite(file, 4096);
  const changed = await drill(name);
  expect(changed).toMatchObject({ status: 'failed', drill: 'failed', console: [] });
  expect(changed.text).toMatch(/is damaged, and was not booted: ubd0.img does not match its checksum/);
  await truncate(file, 100_000);
  const cut = await drill('changed@20260102T030405Z');
  expect(cut.text).toMatch(/was not booted: .*100000 bytes instead of/);
  const backing = scene.path('base.img');
  await writeFile(backing, Buffer.alloc(70_001, 1));
  const disks = { ubd0: { bytes: Buffer.alloc(70_001, 'no COW file'), backing } };
  await sealSparse(new DirectoryStore({ name: 'local', path: scene.store }), 'apart@20260102T030405Z', disks);
  const apart = await drill('apart@latest');
  expect(apart).toMatchObject({
    exitCode: 1,
    drill: 'failed',
    error: { code: 'DrillFailed', phase: 'restore' },
  });
  expect(apart.text).toMatch(
    /makes no disk with its backing file, and was not booted: ubd0.cow: .*no COW header/,
  );
  const { stdout } = await scene.run('list');
  expect(stdout).toMatch(/changed@20260102T030405Z .*failed/);
  expect(stdout).toMatch(/debian@.*passed/);
});

test('it tells kernels that do not start, or say nothing, from kernels that are not there', async () => {
  const name = await stored('blank');
  await configure({ kernel: await script('broken-kernel', 'echo out of order; exit 3') });
  expect((await drill(name)).text).toMatch(/did not come up \(its kernel exited with 3: out of order\)/);
  await configure({ kernel: await script('mute-kernel', 'exec sleep 60'), timeout: '2s' });
  expect((await drill(name)).text).toMatch(/did not answer on its management console within 2 s/);
  // As the filter ends one for 32 bits.
  const foreign = await script('foreign-kernel', 'kill -SYS $$');
  for (const [path, why] of [
    [scene.path('nowhere'), "can't be run"],
    [foreign, 'not made for'],
  ] as const) {
    await configure({ kernel: path });
    const impossible = await drill(name);
    expect(impossible).toMatchObject({ exitCode: 1, drill: null, error: { code: 'DrillImpossible' } });
    expect(impossible.text).toMatch(new RegExp(`${why}.*This says nothing of the snapshot\\.`, 's'));
  }
  await expectNothingLeft();
});

test('it tells a guest that runs and does not say what is expected, in the time that it has, and contains it meanwhile', async () => {
  const settings = { expect: 'never said', timeout: '30s' };
  await configure({}, { quiet: { mconsole: 'quiet', disks: { ubd0: '/nowhere' }, drill: settings } });
  const drilled = drill(await stored('quiet'));
  if (isRoot) await expectContained();
  expect((await scene.run('drill', 'quiet@latest')).exitCode).toBe(11);
  const failed = await drilled;
  expect(failed).toMatchObject({ status: 'failed', drill: 'failed', error: { phase: 'expect' } });
  expect(failed.text).toContain('did not say what is expected: "never said" within 30 s');
});

async function untilInBox(): Promise<number[]> {
  const find = () => (pidsOfDrill().length > 3 ? pidsOfDrill() : undefined);
  const pids = await waitFor('the guest in its box', find);
  const commands = pids.map((pid) => readOrNothing(`/proc/${pid}/cmdline`)).join('\n');
  sockets = /mconsole=notify:(\S+?)\/notify\b/.exec(commands)?.[1] ?? expect.fail(commands);
  return pids;
}

async function expectContained(): Promise<void> {
  const pids = await untilInBox();
  expect(existsSync(sockets)).toBe(true);
  for (const pid of pids) {
    const status = readOrNothing(`/proc/${pid}/status`);
    if (status === '') continue; // a process of the guest that has ended
    const rights = [/^CapEff:\s0+$/m, /^CapBnd:\s0+$/m, /^NoNewPrivs:\s1$/m, /^Groups:\s*$/m];
    for (const line of [...rights, /^Seccomp:\s2$/m]) expect(status).toMatch(line);
  }
  const [pid = 0] = pids;
  const namespaceOf = (process: number | 'self', name: string) => readlink(`/proc/${process}/ns/${name}`);
  for (const name of ['net', 'pid', 'mnt', 'ipc', 'uts']) {
    expect(await namespaceOf(pid, name)).not.toBe(await namespaceOf('self', name));
  }
  expect((await readFile(`/proc/${pid}/net/dev`, 'utf8')).match(/\S+(?=:)/g)).toEqual(['lo']);
}

test.runIf(isRoot)('it leaves no process behind when it is killed', async () => {
  const command = scene.start(['--json', 'drill', 'quiet@latest']);
  await untilInBox();
  command.kill('SIGKILL');
  await command.exited;
  await waitFor('the box to be gone', () => pidsOfDrill().length === 0);
  expect(await copies()).not.toEqual([]);
  expect(await scene.run('recover')).toMatchObject({ exitCode: 0 });
  await expectNothingLeft();
});

test('it is done by a daemon at its time, for those guests whose last one is the longest ago, and when it is asked', async () => {
  await stored('never');
  const schedule = await dueAtOnce(scene, ':drill');
  await configure({ kernel: await script('broken-again', 'exit 3'), schedule, timezone: 'UTC', sample: 1 });
  const daemon = await TestDaemon.start(scene);
  const { pid } = daemon;
  await daemon.untilLogged(/^drill failed$/);
  const drills = await scene.withHistory((history) => history.jobs({ kind: 'drill', guest: 'never' }));
  expect(drills).toMatchObject([{ status: 'failed', pid, trigger: 'schedule' }]);
  expect((await scene.run('drill', 'never@latest')).exitCode).toBe(1);
  expect(await scene.newestJob('never')).toMatchObject({ kind: 'drill', trigger: 'request', pid });
  await daemon.end();
  await expectNothingLeft();
});
