import { describe, expect, onTestFinished, test } from 'vitest';
import { ServiceManager } from '../../src/control/service-manager.js';
import { NotifyReceiver } from '../support/notify-receiver.js';
import { setScene } from '../support/scene.js';
import { TestDaemon } from '../support/test-daemon.js';
import { waitFor } from '../support/wait-for.js';

const scene = setScene({ guest: null });

async function earAt(address: string): Promise<NotifyReceiver> {
  const ear = await NotifyReceiver.bind(address);
  onTestFinished(() => ear.close());
  return ear;
}

const failed = (problem: string) => {
  throw new Error(problem);
};

describe('a service manager is told', () => {
  test.each(['path', 'abstract'])('at its %s address: ready, reloading, stopping', async (kind) => {
    const ear = await earAt(kind === 'path' ? scene.path('notify') : `@umlsnap-test-${process.pid}`);
    const manager = new ServiceManager({ NOTIFY_SOCKET: ear.address }, failed);
    manager.ready('two\nlines');
    manager.reloading();
    manager.stopping('ends');
    await ear.untilTold('STOPPING');
    expect(ear.received).toEqual([
      { READY: '1', STATUS: 'two lines' },
      { RELOADING: '1', MONOTONIC_USEC: expect.stringMatching(/^\d+$/), STATUS: 'Reads the config again.' },
      { STOPPING: '1', STATUS: 'ends' },
    ]);
  });

  test('nothing where there is none, and nothing keeps us from working where it can not be reached', () => {
    new ServiceManager({}, failed).ready('nobody hears it');
    const problemsAt = (address: string) => {
      const problems: string[] = [];
      const manager = new ServiceManager({ NOTIFY_SOCKET: address }, (problem) => problems.push(problem));
      manager.ready('a');
      manager.stopping('b');
      return problems;
    };
    expect(problemsAt(scene.path('gone'))).toEqual(['ENOENT: sendto']);
    expect(problemsAt(`/${'x'.repeat(200)}`)).toEqual([expect.stringContaining('too long')]);
  });

  test('of no watchdog that is meant for another process', async () => {
    const ear = await earAt(scene.path('other'));
    const env = { NOTIFY_SOCKET: ear.address, WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' };
    const manager = new ServiceManager(env, failed);
    manager.ready('runs');
    manager.stopping('ends');
    await ear.untilTold('STOPPING');
    expect(ear.received.map((one) => Object.keys(one)[0])).toEqual(['READY', 'STOPPING']);
  });
});

test('a daemon that lives feeds a watchdog, which starves when its event loop stands still', async () => {
  const ear = await earAt(scene.path('watched'));
  const env = { NOTIFY_SOCKET: ear.address, WATCHDOG_USEC: '200000' };
  const daemon = await TestDaemon.start(scene, [], env);
  await ear.untilTold('READY');
  expect(ear.received[0]).toMatchObject({ READY: '1', STATUS: 'Nothing has a schedule.' });
  await ear.untilTold('WATCHDOG', 5);

  daemon.kill('SIGSTOP');
  const feedings = () => ear.received.filter(({ WATCHDOG }) => WATCHDOG === '1').length;
  // What it had sent before may still be on its way.
  let last = -1;
  const isSettled = () => {
    const before = last;
    last = feedings();
    return last === before;
  };
  await waitFor('the feeding to end', isSettled, { everyMs: 1000 });
  daemon.kill('SIGCONT');

  await daemon.reload();
  await ear.untilTold('READY', 2);
  const told = ear.received.filter(({ WATCHDOG }) => WATCHDOG === undefined);
  expect(told.map((one) => Object.keys(one)[0])).toEqual(['READY', 'RELOADING', 'READY']);
  await daemon.end();
  await ear.untilTold('STOPPING');
});
