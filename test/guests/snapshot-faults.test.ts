import { copyFile, open } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { canTrace, withInjected } from '../capture/traced.js';
import type { RunningCli } from '../support/cli.js';
import { beforeGo, letCapture, letGoIntoCapture, startHeld } from '../support/held-job.js';
import { expectFailed, resultOf, setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/**
 * What goes wrong with the copy of a real guest while it stands still, and Ctrl-C and SIGTERM in each phase: everything begun is
 * undone, the guest resumed first.
 */

const scene = setScene({ proxied: true, settings: { capture: 'copy' } });
const traceable = await canTrace();
const untraced = traceable ? '' : ' (skipped: strace is missing or may not trace)';

/** What the guest is asked from now on, or passes by. */
async function askedFromNow(): Promise<() => Promise<string[]>> {
  const seen = (await scene.proxy.events()).length;
  return async () => (await scene.proxy.events()).slice(seen).map(({ command }) => command);
}

// First: what it keeps is there for the faults after it, and none of them may take it.
test('a guest that does not hear `go` ten times is resumed by the next one, and not drowned in them (fault 11)', async () => {
  const { proxy } = scene;
  const job = await startHeld(scene);
  await proxy.drop('go', 10, 'request');
  const { summary } = await job.end();
  expect(summary).toMatchObject({ error: null, consistency: 'synced' });
  const asked = (await proxy.events()).filter(({ command, what }) => command === 'go' && what === 'request');
  expect(asked.length).toBeGreaterThan(10);
  // Six in the first moments, and then four a second.
  const { durationMs = Number.NaN } = summary.phases.find(({ phase }) => phase === 'go') ?? {};
  expect(asked.length).toBeLessThan(11 + durationMs / 250);
  await scene.expectWell();
});

test('a capture that is held in the pause is cut long before the end of its budget, the guest resumed, and nothing is left of it (fault 23)', async () => {
  const job = await startHeld(scene);
  const pausesBefore = (await scene.proxy.pauses()).length;
  await letGoIntoCapture(job, scene.proxy);
  process.kill(job.captureChild, 'SIGSTOP');
  const { summary } = resultOf(await job.cli.exited);
  await letCapture(scene.proxy);
  expect(summary).toMatchObject({
    ...{ status: 'failed', resumed: true, snapshot: null },
    error: { code: 'CaptureFailed', phase: 'capture' },
  });
  expect((await scene.proxy.pauses()).slice(pausesBefore)).toHaveLength(1);
  await scene.expectUnharmed();
});

test.skipIf(!traceable)(
  `an I/O error at the fsync of the guest's directory, after the rename, throws the copy away (fault 31)${untraced}`,
  async () => {
    const job = await startHeld(scene);
    const directory = join(scene.store, 'debian');
    const result = await withInjected(job.cli.pid, ['fsync:error=EIO'], () => job.end(), directory);
    expect(expectFailed(result, 'StoreUnusable').error).toMatchObject({
      ...{ phase: 'seal', message: expect.stringContaining('I/O error') },
    });
    await scene.expectUnharmed();
  },
);

async function flipByte(incoming: string): Promise<void> {
  const copy = await open(join(incoming, 'ubd0.img'), 'r+');
  await copy.write(Buffer.from('x'), 0, 1, 4096);
  await copy.close();
}

test.each([
  ['a byte flipped before the seal (fault 28)', 'CaptureDamaged', flipByte],
  ['a file put beside it', 'Internal', (dir: string) => copyFile('/etc/hostname', join(dir, 'extra'))],
])('a copy that is not what was captured, for %s, is no snapshot', async (_, code, change) => {
  const job = await startHeld(scene);
  const { result } = await beforeGo(job, scene.proxy, () => change(job.incoming));
  expect(expectFailed(result, code).error).toMatchObject({ phase: 'seal' });
  await scene.expectUnharmed();
});

describe('a signal', () => {
  async function interrupt(cli: RunningCli, signal: NodeJS.Signals): Promise<void> {
    cli.kill(signal);
    await cli.waitForOutput(/undoing what was begun/);
  }

  async function expectInterrupted(cli: RunningCli, signal: NodeJS.Signals, phase: unknown): Promise<void> {
    const { exitCode, summary, stderr } = resultOf(await cli.exited);
    expect(summary, stderr).toMatchObject({
      ...{ status: 'interrupted', resumed: true, snapshot: null },
      error: { code: 'Interrupted', phase, message: expect.stringContaining(signal) },
    });
    expect(exitCode).toBe(130);
    await scene.expectUnharmed();
    const { job } = summary;
    expect(await scene.newestJob()).toMatchObject({ job, status: 'interrupted', error: { phase } });
  }

  test.each([
    ['preflight', 'SIGINT', 'proc cpuinfo'],
    ['sync', 'SIGTERM', 'sysrq s'],
  ] as const)('in %s (%s) leaves the guest running all the time', async (phase, signal, held) => {
    const asked = await askedFromNow();
    await scene.proxy.hold(held);
    const cli = scene.startSnapshot();
    await scene.proxy.untilHeld(held);
    await interrupt(cli, signal);
    await scene.proxy.release(held);
    await expectInterrupted(cli, signal, phase);
    expect(await asked()).not.toContain('stop');
  });

  test('while `stop` is on its way resumes the guest when it has come', async () => {
    await scene.proxy.hold('stop');
    const asked = await askedFromNow();
    const cli = scene.startSnapshot();
    await scene.proxy.untilHeld('stop');
    cli.kill('SIGINT');
    await waitFor('a go, sent though the stop is out', async () => (await asked()).includes('go'));
    await scene.proxy.release('stop');
    await expectInterrupted(cli, 'SIGINT', 'stop');
  });

  // More of them change nothing: undoing is not left half done.
  test('while the guest is paused resumes it first, however often it is sent', async () => {
    const job = await startHeld(scene);
    const pausesBefore = (await scene.proxy.pauses()).length;
    await letGoIntoCapture(job, scene.proxy);
    for (let sent = 0; sent < 3; sent++) job.cli.kill('SIGINT');
    // Its budget is longer than this is waited for.
    await waitFor('the guest to be resumed', async () => (await scene.proxy.pauses()).length > pausesBefore);
    await letCapture(scene.proxy);
    await expectInterrupted(job.cli, 'SIGINT', 'capture');
  });

  test('while `go` is on its way ends only after it has come', async () => {
    const job = await startHeld(scene);
    let hasEnded = false;
    void job.cli.exited.then(() => {
      hasEnded = true;
    });
    await beforeGo(job, scene.proxy, async () => {
      await interrupt(job.cli, 'SIGTERM');
      const asked = await askedFromNow();
      await waitFor('another go', async () => (await asked()).includes('go'));
      expect(hasEnded).toBe(false);
    });
    await expectInterrupted(job.cli, 'SIGTERM', expect.anything());
  });

  test.skipIf(!traceable)(`in seal, at the fsync of the image, leaves no snapshot${untraced}`, async () => {
    const job = await startHeld(scene);
    const untilTold = async () => {
      await job.letGo();
      await job.cli.waitForOutput(/"phase":"seal"/);
      await interrupt(job.cli, 'SIGTERM');
    };
    // Lasts for as long as it is traced.
    const slowly = ['fsync:delay_enter=60000000'];
    await withInjected(job.cli.pid, slowly, untilTold, join(job.incoming, 'ubd0.img'));
    await expectInterrupted(job.cli, 'SIGTERM', 'seal');
  });
});
