import { beforeAll, describe, expect, test } from 'vitest';
import { whyNoTracing } from '../capture/tracing/why-no-tracing.js';
import { expectFailed, setScene } from '../support/scene.js';

/** How a real guest's disk is captured where no reflink is possible: by what, why, and what a guest that writes too fast comes to. */

const untraced = await whyNoTracing();
const skipped = untraced === null ? '' : ` (skipped: ${untraced})`;
const scene = setScene({
  guest: { writer: 'lines', sizeMiB: 48, fillMiB: 8 },
  proxied: true,
  settings: { require: 'crash', syncTries: 1, capture: 'precopy' },
});

/** Has the guest overwrite more than is copied in 3 s. */
const flood = 'dd if=/dev/urandom of=/data/flood bs=1M count=6 conv=notrunc,fsync 2>/dev/null';
const slowly = { precopyRate: '2MiB/s' };
beforeAll(() => scene.guest.sh(flood));

/** Has the guest do so all the time, while `use` runs. */
async function flooded<T>(use: () => Promise<T>): Promise<T> {
  await scene.guest.sh(`(while :; do ${flood}; nap 1; done) > /dev/null 2>&1 & echo $! > /tmp/flood`);
  try {
    return await use();
  } finally {
    await scene.guest.sh('kill $(cat /tmp/flood)');
  }
}

const stops = async () => (await scene.proxy.events()).filter(({ command }) => command === 'stop').length;

describe.skipIf(untraced !== null)(`where writes can be traced${skipped}`, () => {
  test('they are, if the config leaves the choice to us', async () => {
    const { summary, stderr } = await scene.snapshot();
    expect(summary, stderr).toMatchObject({
      ...{ method: 'precopy', tracker: 'traced', reason: 'the config asks for a precopy', error: null },
      precopy: { proof: 'held' },
    });
    const shown = (await scene.run('show', String(summary.job))).stdout;
    expect(shown).toMatch(/^precopy .*tracker=traced .*precopied=[\d.]+MiB rounds=\d+ converged=true/m);
    expect(shown).toMatch(/^capture .*tracker=traced paused=.*proof=held/m);
    await scene.expectWell();
  });

  test('a guest that writes faster than it may be copied is told, with both rates, and ends (fault 27)', async () => {
    const commands = await scene.variant({ ...slowly, precopyTracker: 'traced', pauseTarget: '1ms' });
    const { exitCode, summary, stderr } = await flooded(() => commands.snapshot());
    expect(summary, stderr).toMatchObject({ error: null, precopy: { converged: false, proof: 'held' } });
    expect(summary.warnings.join('\n')).toMatch(
      /the guest wrote faster than it could be copied: about .*B\/s, and it was copied at .*B\/s/,
    );
    expect(exitCode).toBe(3);
    await scene.expectWell();
  });

  /** A mount namespace in which tracefs is not mounted, and a root that may not mount it: a container's. */
  const unmount = 'umount -l /sys/kernel/tracing; umount -l /sys/kernel/debug/tracing 2>/dev/null';
  const asContainer = `${unmount}; exec setpriv --bounding-set -sys_admin "$@"`;
  const inContainer = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', asContainer, 'sh'];

  test('they are compared all the same by who may not trace, and the reason says what to do', async () => {
    const { summary, exitCode, stderr } = await (await scene.variant({}, {}, inContainer)).snapshot();
    expect(summary, stderr).toMatchObject({
      ...{ method: 'precopy', tracker: 'compared', error: null, status: 'warning' },
      precopy: { trackerProblem: null, comparedBytes: expect.any(Number) },
    });
    expect(summary.reason).toMatch(
      /writes can't be traced \(tracefs is not mounted .*run as root, or mount it/,
    );
    expect(summary.warnings.join('\n')).toMatch(/MiB of data are compared, about/);
    expect(exitCode).toBe(3);
    await scene.expectWell();
  });

  test('but not if the config wants them traced: the guest is left alone', async () => {
    const stopsBefore = await stops();
    const commands = await scene.variant({ precopyTracker: 'traced' }, {}, inContainer);
    const summary = expectFailed(await commands.snapshot(), 'CaptureImpossible');
    expect(summary.error?.message).toContain('tracefs is not mounted');
    expect(summary.error?.phase).toBe('preflight');
    expect(await stops()).toBe(stopsBefore);
    await scene.expectUnharmed();
  });
});

describe('a guest whose disks are compared', () => {
  test('and copied slowly ends as well, however fast it writes (fault 27)', async () => {
    const commands = await scene.variant({ ...slowly, precopyTracker: 'compared' });
    const { summary, stderr } = await flooded(() => commands.snapshot());
    expect(summary, stderr).toMatchObject({
      error: null,
      tracker: 'compared',
      precopy: { converged: false },
    });
    expect(summary.warnings.join('\n')).toMatch(
      /the guest wrote faster than it could be copied and compared: it was copied at .*B\/s/,
    );
    await scene.expectWell();
  });

  test('is not even stopped when that would take longer than its budget (fault 27)', async () => {
    const stopsBefore = await stops();
    const commands = await scene.variant({ precopyTracker: 'compared', pauseBudget: '1ms' });
    const summary = expectFailed(await commands.snapshot(), 'PredictedPauseOverBudget');
    // At once where it is hopeless, and else when it was measured on the disk and its copy.
    expect(['preflight', 'quiesce']).toContain(summary.error?.phase);
    expect(summary.error?.message).toMatch(/\(comparing of [\d.]+ MiB\), its budget is 1 ms/);
    expect(await stops()).toBe(stopsBefore);
    await scene.expectUnharmed();
  });
});
