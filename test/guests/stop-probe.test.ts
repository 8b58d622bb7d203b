import { stat } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findGuestProcesses, type GuestProcesses } from '../../src/guest/guest-processes.js';
import { HostView } from '../../src/guest/host-view.js';
import { confirmStopped, probeStopped } from '../../src/guest/stop-probe.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

let dir: string;
let guest: RealGuest;
let processes: GuestProcesses;
let view: HostView;
beforeAll(async () => {
  dir = await makeTempDir();
  guest = await bootGuest({ dir, writer: 'lines' });
  const found = await findGuestProcesses([await stat(guest.diskPath)]);
  if (!found) throw new Error('the guest was not found by its disk');
  processes = found;
  view = new HostView(found);
});
afterAll(async () => {
  view?.close();
  await guest?.kill();
  await removeTempDir(dir);
});

test('a guest is found by its disk as the process that runs its kernel, with the helper that writes its disks', () => {
  expect(processes.main.pid).toBe(guest.pid);
  expect(processes.ioTasks.length).toBeGreaterThan(0);
});

test('a guest that runs is never taken for one that stands still, so a console of another guest proves nothing', async () => {
  await waitFor('the host to tell', () => probeStopped(processes.main) === 'running');
  expect(await confirmStopped(view)).toBe(false);
});

test('a guest that its console has stopped is seen to stand still, and to run again after go', async () => {
  await guest.mconsole('stop');
  expect(await confirmStopped(view)).toBe(true);
  await guest.mconsole('go');
  await waitFor('the host to tell', () => probeStopped(processes.main) === 'running');
  expect(await confirmStopped(view)).toBe(false);
});

test("guest processes that come and go are not taken for the guest's helper, which would then be missed", async () => {
  await guest.sh('(while :; do /bin/true; done) > /dev/null 2>&1 & echo $! > /tmp/forks');
  try {
    for (let looks = 0; looks < 100; looks++) {
      const found = await findGuestProcesses([await stat(guest.diskPath)]);
      expect(found?.ioTasks).toEqual(processes.ioTasks);
    }
  } finally {
    await guest.sh('kill $(cat /tmp/forks)');
  }
});
