import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ServiceManager } from '../../src/control/service-manager.js';
import { NotifyReceiver } from '../support/notify-receiver.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { TestDaemon } from '../support/test-daemon.js';
import { TestHouse } from '../support/test-house.js';
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
    const problems: string[] = [];
    const manager = new ServiceManager({ NOTIFY_SOCKET: join(dir, 'gone') }, (problem) =>
      problems.push(problem),
    );
    manager.ready('a');
    manager.stopping('b');
    expect(problems).toEqual(['ENOENT: sendto']);
    const long: string[] = [];
    new ServiceManager({ NOTIFY_SOCKET: `/${'x'.repeat(200)}` }, (problem) => long.push(problem)).ready('a');
    expect(long).toEqual([expect.stringContaining('too long')]);
  });
});

test('a watchdog is fed by a daemon that lives, and starves when its event loop stands still', async () => {
  const house = await TestHouse.build({ sizeMiB: 400 });
  ear = await NotifyReceiver.bind(join(dir, 'watched'));
  try {
    await house.configure({});
    const env = { NOTIFY_SOCKET: ear.address, WATCHDOG_USEC: '200000' };
    const daemon = await TestDaemon.start(house, [], env);
    await ear.untilTold('READY');
    expect(ear.received[0]).toMatchObject({ READY: '1', STATUS: 'Nothing has a schedule.' });
    await ear.untilTold('WATCHDOG', 5);

    daemon.kill('SIGSTOP');
    const feedings = () => ear?.received.filter(({ WATCHDOG }) => WATCHDOG === '1').length;
    // What it had sent before may still be on its way.
    const settled = { last: -1 };
    await waitFor(
      'the feeding to end',
      () => {
        const same = feedings() === settled.last;
        settled.last = feedings() ?? -1;
        return same;
      },
      { everyMs: 1000 },
    );
    daemon.kill('SIGCONT');

    await daemon.reload();
    await ear.untilTold('READY', 2);
    const told = ear.received
      .filter(({ WATCHDOG }) => WATCHDOG === undefined)
      .map((one) => Object.keys(one)[0]);
    expect(told).toEqual(['READY', 'RELOADING', 'READY']);
    await daemon.end();
    await ear.untilTold('STOPPING');
  } finally {
    await house.remove();
  }
});

test('a watchdog that is meant for another process is none of ours', async () => {
  ear = await NotifyReceiver.bind(join(dir, 'other'));
  const env = { NOTIFY_SOCKET: ear.address, WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' };
  const manager = new ServiceManager(env, failed);
  manager.ready('runs');
  manager.stopping('ends');
  await ear.untilTold('STOPPING');
  expect(ear.received.map((one) => Object.keys(one)[0])).toEqual(['READY', 'STOPPING']);
});
