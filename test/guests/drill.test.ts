import { readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, open, readdir, readFile, readlink, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sha256sum } from '../image/make-image.js';
import type { CliResult } from '../support/cli.js';
import { drillKernel } from '../support/drill-kernel.js';
import { bootedLine, buildRootfs } from '../support/guest-image.js';
import { runTool } from '../support/run-tool.js';
import { storeImage } from '../support/stored-image.js';
import { onceIn, TestDaemon } from '../support/test-daemon.js';
import { settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** Nobody's: `drill-fields.ts`. */
const drillUser = 1_879_050_000;
const isRoot = process.getuid?.() === 0;
const secret = 'a secret of the host';

let house: TestHouse;
let kernel: string;
let secretFile: string;

beforeAll(async () => {
  house = await TestHouse.build();
  kernel = await drillKernel(house.dir);
  secretFile = join(house.dir, 'secret');
  await writeFile(secretFile, secret, { mode: 0o644 });
  await configure();
});
afterAll(() => house.remove());

const drillConfig = (more: object = {}) => ({
  ...{ kernel, memory: '96MiB', expect: bootedLine, hold: '1s', timeout: '90s' },
  ...more,
});

async function configure(
  more: object = {},
  guests: Parameters<TestHouse['configure']>[0] = {},
): Promise<void> {
  await house.configure(guests, { drill: drillConfig(more) });
}

/** What a root in the guest can find out about the host that it is drilled on. Outside of a box it asks for nothing: there it could. */
const spyScript = () => [
  'mkdir -p /tmp/host && mount -t hostfs none /tmp/host -o /',
  `spy() {
    cat /tmp/host${secretFile}
    echo "root: $(ls /tmp/host | tr '\\n' ' ')"
    echo "etc: $(ls /tmp/host/etc /tmp/host/root /tmp/host/home 2>&1 | grep -v 'No such')"
    echo "host processes: $(ls /tmp/host/proc | grep -c '^[0-9]')"
    dd if=/dev/zero of=/tmp/host/h/fill bs=64k count=64
    for d in usr disks .; do touch /tmp/host/$d/x; done
    grep MemTotal /proc/meminfo
    echo "interfaces: $(ls /sys/class/net | tr '\\n' ' ')"
  }`,
  '[ ! -d /tmp/host/disks ] || spy > /dev/console 2>&1',
];

/** A hook in the guest, for its agent. */
const hookScript = (name: string, line: string) =>
  `mkdir -p /etc/umlsnap/drill.d; printf '#!/bin/sh\\n${line}\\n' > /etc/umlsnap/drill.d/${name}; chmod 755 /etc/umlsnap/drill.d/${name}`;

function summaryOf({ json, stderr }: CliResult): Record<string, unknown> {
  const summary = json.find(({ type }) => type === 'summary');
  if (!summary) throw new Error(`no summary: ${JSON.stringify(json)} ${stderr}`);
  return summary;
}

async function drill(
  snapshot: string,
): Promise<Record<string, unknown> & { exitCode: number | null; text: string }> {
  const result = await house.run(['--json', 'drill', snapshot], { timeoutMs: 150_000 });
  const summary = summaryOf(result);
  const { message } = (summary.error ?? {}) as { message?: string };
  return { ...summary, exitCode: result.exitCode, text: message ?? '' };
}

/** Nothing of a drill is left: no process of its user, no directory, no socket. */
async function expectNothingLeft(): Promise<void> {
  expect(pidsOfDrill()).toEqual([]);
  expect(await readdir(join(house.state, 'drill'))).toEqual([]);
  const sockets = (await readdir('/dev/shm')).filter((name) => name.startsWith('umlsnap-drill-'));
  expect(sockets).toEqual([]);
}

function pidsOfDrill(): number[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const isOurs = (pid: string) => {
    try {
      const uid = /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
      return Number(uid) === drillUser;
    } catch {
      return false; // it ended since the directory was read
    }
  };
  return pids.filter(isOurs).map(Number);
}

async function imageWith(name: string, change: (image: string) => Promise<unknown>): Promise<string> {
  const dir = join(house.dir, name);
  await mkdir(dir);
  const image = await buildRootfs(dir, { sizeMiB: 64, writer: 'none' });
  await change(image);
  await storeImage(house.store, name, image, new Date('2026-01-02T03:04:05Z'));
  return `${name}@latest`;
}

/** A boot from the end of which nothing can be told is no proof: by e2fsprogs, no root needed. */
const debugfs = (image: string, request: string) => runTool('debugfs', ['-w', '-R', request, image]);

async function overwrite(image: string, offset: number, length: number): Promise<void> {
  const handle = await open(image, 'r+');
  await handle.write(Buffer.alloc(length), 0, length, offset).finally(() => handle.close());
}

async function script(name: string, line: string): Promise<string> {
  const path = join(house.dir, name);
  await writeFile(path, `#!/bin/sh\n${line}\n`);
  await chmod(path, 0o755);
  return path;
}

describe('a drill', () => {
  test("passes on a running guest's snapshot, which it leaves as it was, and shows the guest nothing of the host", async () => {
    const guest = await house.boot({
      agent: 'busybox',
      rc: [...spyScript(), hookScript('10-ready', 'exit 0')],
    });
    await configure({}, { debian: settingsOf(guest, { require: 'crash', drill: { hooks: true } }) });
    await guest.sh('echo "kept by the guest" > /data/kept; sync');
    const taken = await house.run(['snapshot', 'debian']);
    expect(taken, taken.stderr).toMatchObject({ exitCode: 0 });
    const [listed] = await house.listed();
    const file = join(house.store, 'debian', listed?.snapshot.split('@')[1] ?? '', 'ubd0.img');
    const before = { ...(await stat(file)), sha256: await sha256sum(file) };

    const passed = await drill('debian@latest');
    expect(passed, passed.text).toMatchObject({ exitCode: 0, drill: 'passed', foundLine: bootedLine });
    expect((passed.steps as { step: string }[]).map(({ step }) => step)).toEqual([
      ...['restore', 'start', 'kernel', 'init', 'expect', 'hooks'],
    ]);
    const { atimeMs: _, atime: __, ...same } = { ...(await stat(file)), sha256: await sha256sum(file) };
    expect(before).toMatchObject(same);
    await expectNothingLeft();

    const console = (passed.console as string[]).join('\n');

    expect(console).not.toContain(secret);
    expect(console).toMatch(/^root: (?:(?:bin|dev|disks|h|kernel|lib|lib32|lib64|libx32|proc|sbin|usr) )+$/m);
    expect(console).toMatch(/^etc: $/m);
    expect(Number(/host processes: (\d+)/.exec(console)?.[1])).toBeLessThan(40);
    expect(console).toContain('No space left on device');
    expect(console.match(/touch: .*(?:Read-only|denied)/g), console).toHaveLength(3);
    expect(console).toMatch(/^interfaces: lo $/m);
    expect(Number(/MemTotal: +(\d+) kB/.exec(console)?.[1])).toBeLessThan(96 * 1024);
  });

  test('leaves room for a look at its files, also at what only the journal of a running guest holds', async () => {
    const to = join(house.dir, 'kept');
    const { stderr } = await house.run(['restore', 'debian@latest', '--path', '/data/kept', '--to', to]);
    expect(stderr).toBe('');
    expect(await readFile(join(to, 'kept'), 'utf8')).toBe('kept by the guest\n');
  });

  test('is listed with its snapshot, and shown step by step', async () => {
    const { stdout } = await house.run(['list', 'debian']);
    expect(stdout).toMatch(/passed/);
    const shown = await house.run(['show', 'debian@latest']);
    expect(shown.stdout).toMatch(/^drilled +passed, /m);
    const [drilled] = await house.withHistory((history) => history.jobs({ kind: 'drill', guest: 'debian' }));
    const { stdout: steps } = await house.run(['show', drilled?.job ?? '']);
    expect(steps).toMatch(/restore[\s\S]*start[\s\S]*kernel[\s\S]*init[\s\S]*expect/);
    expect(steps).toContain(`| ${bootedLine}`);
  });

  test('passes on a COW pair, and fails where a hook of its agent does, by the words of the hook', async () => {
    const rc = [hookScript('20-db', 'echo no table of users; exit 7')];
    const guest = await house.boot({ cow: true, agent: 'busybox', rc });
    const [disk] = guest.disks;
    const pair = { ubd0: { path: disk?.path ?? '', backing: disk?.backing ?? '' } };
    const config = { mconsole: guest.socketPath, disks: pair, require: 'crash' } as never;
    await configure({}, { cow: config });
    const taken = await house.run(['snapshot', 'cow']);
    expect(taken, taken.stderr).toMatchObject({ exitCode: 0 });
    await guest.kill();
    const passed = await drill('cow@latest');
    expect(passed, passed.text).toMatchObject({ exitCode: 0, drill: 'passed' });
    await configure({ hooks: true });
    const failed = await drill('cow@latest');
    expect(failed).toMatchObject({ exitCode: 1, drill: 'failed', error: { phase: 'hooks' } });
    expect(failed.text).toContain('its hook 20-db failed with 7: no table of users');
    const { stdout } = await house.run(['files', 'cow@latest', '/etc/umlsnap/drill.d']);
    expect(stdout).toContain('20-db');
  });

  test('tells an init that can not be run from everything else, with the kernel’s own words', async () => {
    const name = await imageWith('noinit', (image) => debugfs(image, 'rm /bin/busybox'));
    const failed = await drill(name);
    expect(failed).toMatchObject({
      exitCode: 1,
      drill: 'failed',
      error: { code: 'DrillFailed', phase: 'init' },
    });
    expect(failed.text).toContain('there is no init that can be run');
    expect((failed.console as string[]).join('\n')).toContain('No working init found');
    await expectNothingLeft();
  });

  test('tells a superblock of zeros, and an image that was captured too short for its filesystem', async () => {
    const zeroed = await drill(await imageWith('zeroed', (image) => overwrite(image, 1024, 1024)));
    expect(zeroed.text).toContain("its root filesystem can't be mounted");
    const short = await drill(await imageWith('short', (image) => truncate(image, 32 * 2 ** 20)));
    expect(short.text).toMatch(/its root filesystem can't be mounted .*bad geometry/);
  });

  test('does not boot a snapshot whose image was cut short or changed since, and says which', async () => {
    const name = await imageWith('changed', async () => {});
    const file = join(house.store, 'changed', '20260102T030405Z', 'ubd0.img');
    await overwrite(file, 3_000_000, 4096);
    await writeFile(file, 'x', { flag: 'r+' });
    const changed = await drill(name);
    expect(changed).toMatchObject({ exitCode: 1, drill: 'failed', console: [] });
    expect(changed.text).toMatch(/is damaged, and was not booted: ubd0.img does not match its checksum/);
    await truncate(file, 1_000_000);
    const cut = await drill('changed@20260102T030405Z');
    expect(cut.text).toMatch(/was not booted: .*1000000 bytes instead of/);
    const { stdout } = await house.run(['list']);
    expect(stdout).toMatch(/changed@20260102T030405Z .*failed/);
    await expectNothingLeft();
  });

  test('tells a guest that runs and does not say what is expected, in the time that it has', async () => {
    await configure(
      {},
      {
        quiet: {
          mconsole: 'quiet',
          disks: { ubd0: '/nowhere' },
          drill: { expect: 'never said', timeout: '15s' },
        },
      },
    );
    const failed = await drill(await imageWith('quiet', async () => {}));
    expect(failed).toMatchObject({ exitCode: 1, drill: 'failed', error: { phase: 'expect' } });
    expect(failed.text).toContain('did not say what is expected: "never said" within 15 s');
  });

  test('tells kernels that do not start, or say nothing, from kernels that are not there', async () => {
    const broken = await script('broken-kernel', 'echo out of order; exit 3');
    await configure({ kernel: broken });
    expect((await drill('zeroed@latest')).text).toMatch(
      /did not come up \(its kernel exited with 3: out of order\)/,
    );
    const mute = await script('mute-kernel', 'exec sleep 60');
    await configure({ kernel: mute, timeout: '2s' });
    expect((await drill('zeroed@latest')).text).toMatch(
      /did not answer on its management console within 2 s/,
    );
    await configure({ kernel: join(house.dir, 'nowhere') });
    const impossible = await drill('zeroed@latest');
    expect(impossible).toMatchObject({ exitCode: 1, drill: null, error: { code: 'DrillImpossible' } });
    expect(impossible.text).toContain('This says nothing of the snapshot.');
    await expectNothingLeft();
  });

  test.runIf(isRoot)(
    'is contained while it runs, and leaves no process behind when it is killed',
    async () => {
      await configure({ expect: 'never said' });
      const command = house.start(['--json', 'drill', 'quiet@latest']);
      const pids = await waitFor(
        'the guest in its box',
        () => (pidsOfDrill().length > 3 ? pidsOfDrill() : undefined),
        {
          limitMs: 60_000,
        },
      );
      for (const pid of pids) {
        const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => undefined);
        if (status === undefined) continue; // a process of the guest that has ended
        expect(status).toMatch(/^CapEff:\s0+$/m);
        expect(status).toMatch(/^CapBnd:\s0+$/m);
        expect(status).toMatch(/^NoNewPrivs:\s1$/m);
        expect(status).toMatch(/^Groups:\s*$/m);
      }
      const [pid = 0] = pids;
      for (const namespace of ['net', 'pid', 'mnt', 'ipc', 'uts']) {
        expect(await readlink(`/proc/${pid}/ns/${namespace}`)).not.toBe(
          await readlink(`/proc/self/ns/${namespace}`),
        );
      }
      expect((await readFile(`/proc/${pid}/net/dev`, 'utf8')).match(/\S+(?=:)/g)).toEqual(['lo']);
      const second = await house.run(['drill', 'quiet@latest']);
      expect(second.exitCode).toBe(11);

      command.kill('SIGKILL');
      await command.exited;
      await waitFor('the box to be gone', () => pidsOfDrill().length === 0);
      expect(await readdir(join(house.state, 'drill'))).not.toEqual([]);
      expect(await house.run(['recover'])).toMatchObject({ exitCode: 0 });
      await expectNothingLeft();
    },
  );

  test('is done by a daemon at its time, for those guests whose last one is the longest ago, and when it is asked', async () => {
    const broken = await script('broken-again', 'exit 3');
    await imageWith('never', async () => {});
    await configure({ kernel: broken, schedule: onceIn(12), timezone: 'UTC', sample: 1 });
    const daemon = await TestDaemon.start(house);
    await daemon.untilLogged(/^drill failed$/);
    const [job, ...others] = await house.withHistory((history) =>
      history.jobs({ kind: 'drill', guest: 'never' }),
    );
    expect(others).toEqual([]);
    expect(job).toMatchObject({ status: 'failed', pid: daemon.pid });
    expect(['schedule', 'catchUp']).toContain(job?.trigger);
    const asked = await house.run(['drill', 'never@latest']);
    expect(asked.exitCode).toBe(1);
    expect(await house.newestJob('never')).toMatchObject({
      kind: 'drill',
      trigger: 'request',
      pid: daemon.pid,
    });
    await daemon.end();
    await expectNothingLeft();
  });
});
