import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ServiceManager } from '../../src/control/service-manager.js';
import { NotifyReceiver } from '../support/notify-receiver.js';
import { setScene } from '../support/scene.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { TestDaemon } from '../support/test-daemon.js';
import { waitFor } from '../support/wait-for.js';

let dir: string;
let ear: NotifyReceiver | undefined;
beforeAll(async () => {
  dir = await makeTempDir();
});
afterEach(() => ear?.close());
afterAll(() => removeTempDir(dir));

const failed = (problem: string) => {
  throw new Error(problem);
};

describe('a service manager is told', () => {
  test.each(['path', 'abstract'])('at its %s address: ready, reloading, stopping', async (kind) => {
    ear = await NotifyReceiver.bind(kind === 'path' ? join(dir, 'notify') : `@umlsnap-test-${process.pid}`);
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
    expect(problemsAt(join(dir, 'gone'))).toEqual(['ENOENT: sendto']);
    expect(problemsAt(`/${'x'.repeat(200)}`)).toEqual([expect.stringContaining('too long')]);
  });

  test('of no watchdog that is meant for another process', async () => {
    ear = await NotifyReceiver.bind(join(dir, 'other'));
    const env = { NOTIFY_SOCKET: ear.address, WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' };
    const manager = new ServiceManager(env, failed);
    manager.ready('runs');
    manager.stopping('ends');
    await ear.untilTold('STOPPING');
    expect(ear.received.map((one) => Object.keys(one)[0])).toEqual(['READY', 'STOPPING']);
  });
});

const scene = setScene({ guest: null });

test('a daemon that lives feeds a watchdog, which starves when its event loop stands still', async () => {
  const watched = await NotifyReceiver.bind(join(dir, 'watched'));
  ear = watched;
  const env = { NOTIFY_SOCKET: watched.address, WATCHDOG_USEC: '200000' };
  const daemon = await TestDaemon.start(scene, [], env);
  await watched.untilTold('READY');
  expect(watched.received[0]).toMatchObject({ READY: '1', STATUS: 'Nothing has a schedule.' });
  await watched.untilTold('WATCHDOG', 5);

  daemon.kill('SIGSTOP');
  const feedings = () => watched.received.filter(({ WATCHDOG }) => WATCHDOG === '1').length;
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
  await watched.untilTold('READY', 2);
  const told = watched.received.filter(({ WATCHDOG }) => WATCHDOG === undefined);
  expect(told.map((one) => Object.keys(one)[0])).toEqual(['READY', 'RELOADING', 'READY']);
  await daemon.end();
  await watched.untilTold('STOPPING');
});
