import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { whyNoTracing } from '../capture/tracing/why-no-tracing.js';
import {
  expectFailed,
  expectNothingLost,
  expectRuns,
  type Records,
  recordsOf,
  type Scene,
  type SnapshotResult,
  setScene,
  ticker,
} from '../snapshot/scene.js';
import { cliScript, jsonLines } from '../support/cli.js';
import { type MconsoleProxy, startMconsoleProxy } from '../support/mconsole-proxy.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { tryTool } from '../support/run-tool.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** How a real guest's disk is captured where no reflink is possible: by what, why, and what a guest that writes too fast comes to. */

let dir: string;
let guest: RealGuest;
let proxy: MconsoleProxy;
let before: Records;

beforeAll(async () => {
  dir = await makeTempDir();
  guest = await bootGuest({ dir, writer: 'heavy', sizeMiB: 160, rc: ticker });
  proxy = await startMconsoleProxy({ listenPath: join(dir, 'proxy'), guestSocketPath: guest.socketPath });
  await waitFor('heavy writes', async () => (await guest.sh('ls /data')).includes('heavy'));
});
afterAll(async () => {
  await proxy?.close();
  await guest?.kill();
  await removeTempDir(dir);
});
beforeEach(async () => {
  before = await recordsOf(await sceneWith({}));
});

function sceneWith(settings: Record<string, unknown>): Promise<Scene> {
  const common = { require: 'crash', syncTries: 1, pauseBudget: '20s', capture: 'precopy' };
  const { disks } = guest;
  return setScene({ dir, mconsole: proxy.socketPath, disks, settings: { ...common, ...settings } });
}

const stops = async () => (await proxy.events()).filter(({ command }) => command === 'stop').length;

/** Has the guest overwrite 48 MiB as fast as it can, and make them durable, while `use` runs. */
async function flooded<T>(use: () => Promise<T>): Promise<T> {
  const write = 'dd if=/dev/zero of=/data/flood bs=1M count=48 conv=notrunc,fsync 2>/dev/null';
  await guest.sh(`(while :; do ${write}; done) > /dev/null 2>&1 & echo $! > /tmp/flood`);
  try {
    return await use();
  } finally {
    await guest.sh('kill $(cat /tmp/flood)');
  }
}

const untraced = await whyNoTracing();
const skipped = untraced === null ? '' : ` (skipped: ${untraced})`;

describe.skipIf(untraced !== null)(`where writes can be traced${skipped}`, () => {
  test('they are, if the config leaves the choice to us', async () => {
    const scene = await sceneWith({});
    const { summary, stderr } = await scene.snapshot();
    expect(summary, stderr).toMatchObject({
      ...{ method: 'precopy', tracker: 'traced', reason: 'the config asks for a precopy', error: null },
      precopy: { proof: 'held' },
    });
    const shown = (await scene.run('show', String(summary.job))).stdout;
    expect(shown).toMatch(/^precopy .*tracker=traced .*precopied=[\d.]+MiB rounds=\d+ converged=true/m);
    expect(shown).toMatch(/^capture .*tracker=traced paused=.*proof=held/m);
    await expectRuns(guest);
    await expectNothingLost(scene, before);
  });

  test('a guest that writes faster than it may be copied is told, with both rates, and ends (fault 27)', async () => {
    const scene = await sceneWith({ precopyTracker: 'traced', precopyRate: '8MiB/s', pauseTarget: '1ms' });
    const { exitCode, summary, stderr } = await flooded(() => scene.snapshot());
    expect(summary, stderr).toMatchObject({ error: null, precopy: { converged: false, proof: 'held' } });
    expect(summary.warnings.join('\n')).toMatch(
      /the guest wrote faster than it could be copied: about .*B\/s, and it was copied at .*B\/s/,
    );
    expect(exitCode).toBe(3);
    await expectRuns(guest);
    await expectNothingLost(scene, before);
  });

  /** In a mount namespace in which tracefs is not mounted, and as a root that may not mount it: a container's. */
  async function untracedSnapshot(settings: Record<string, unknown>): Promise<SnapshotResult> {
    const { config } = await sceneWith(settings);
    const unmount = 'umount -l /sys/kernel/tracing; umount -l /sys/kernel/debug/tracing 2>/dev/null';
    const asContainer = `${unmount}; exec setpriv --bounding-set -sys_admin "$@"`;
    const command = [process.execPath, cliScript, '-c', config, 'snapshot', 'debian', '--json'];
    const args = ['--mount', '--propagation', 'private', 'sh', '-c', asContainer, 'sh', ...command];
    const { exitCode, stdout, output } = await tryTool('unshare', args, 120_000);
    const summary = jsonLines(stdout.toString()).find(({ type }) => type === 'summary');
    return { exitCode, stderr: output, summary: summary as SnapshotResult['summary'] };
  }

  test('they are compared all the same by who may not trace, and the reason says what to do', async () => {
    const { summary, exitCode, stderr } = await untracedSnapshot({});
    expect(summary, stderr).toMatchObject({
      ...{ method: 'precopy', tracker: 'compared', error: null, status: 'warning' },
      precopy: { trackerProblem: null, comparedBytes: expect.any(Number) },
    });
    expect(summary.reason).toMatch(
      /writes can't be traced \(tracefs is not mounted .*run as root, or mount it/,
    );
    expect(summary.warnings.join('\n')).toMatch(/MiB of data are compared, about/);
    expect(exitCode).toBe(3);
    await expectRuns(guest);
    await expectNothingLost(await sceneWith({}), before);
  });

  test('but not if the config wants them traced: the guest is left alone', async () => {
    const stopsBefore = await stops();
    const summary = expectFailed(await untracedSnapshot({ precopyTracker: 'traced' }), 'CaptureImpossible');
    expect(summary.error?.message).toContain('tracefs is not mounted');
    expect(summary.error?.phase).toBe('preflight');
    expect(await stops()).toBe(stopsBefore);
    await expectRuns(guest);
    await expectNothingLost(await sceneWith({}), before);
  });
});

describe('a guest whose disks are compared', () => {
  test('is not even stopped when that would take longer than its budget (fault 27)', async () => {
    const stopsBefore = await stops();
    const scene = await sceneWith({ precopyTracker: 'compared', pauseBudget: '2ms' });
    const summary = expectFailed(await scene.snapshot(), 'PredictedPauseOverBudget');
    // At once where it is hopeless, and else when it was measured on the disk and its copy.
    expect(['preflight', 'quiesce']).toContain(summary.error?.phase);
    expect(summary.error?.message).toMatch(/\(comparing of [\d.]+ MiB\), its budget is 2 ms/);
    expect(await stops()).toBe(stopsBefore);
    await expectRuns(guest);
    await expectNothingLost(scene, before);
  });

  test('and copied slowly ends as well, however fast it writes (fault 27)', async () => {
    const scene = await sceneWith({ precopyTracker: 'compared', precopyRate: '8MiB/s' });
    const { summary, stderr } = await flooded(() => scene.snapshot());
    expect(summary, stderr).toMatchObject({
      error: null,
      tracker: 'compared',
      precopy: { converged: false },
    });
    expect(summary.warnings.join('\n')).toMatch(
      /the guest wrote faster than it could be copied and compared: it was copied at .*B\/s/,
    );
    await expectRuns(guest);
    await expectNothingLost(scene, before);
  });
});
