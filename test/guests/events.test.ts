import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { CliResult } from '../support/cli.js';
import { type BootOptions, bootGuest, type RealGuest } from '../support/real-guest.js';
import { TestDaemon } from '../support/test-daemon.js';
import { settingsOf, TestHouse } from '../support/test-house.js';
import { waitFor } from '../support/wait-for.js';

/** What real guests say by themselves, and what becomes of a job whose guest says that it ends. */

let house: TestHouse;
beforeAll(async () => {
  house = await TestHouse.build();
});
const guests: RealGuest[] = [];
afterAll(async () => {
  await Promise.all(guests.map((guest) => guest.kill()));
  await house.remove();
});
afterEach(async () => {
  house.killCommands();
  await house.expectAllWell();
});

/** Not the house's, which expects its own to run on. */
async function boot(umid: string, more: Partial<BootOptions> = {}): Promise<RealGuest> {
  const guest = await bootGuest({
    ...{ dir: house.dir, umid, sizeMiB: 64, writer: 'none', notifySocket: notify(), unlockedDisks: true },
    ...more,
  });
  guests.push(guest);
  return guest;
}

const notify = () => join(house.dir, 'n.sock');

async function bootAndConfigure(umid: string, more: Record<string, unknown> = {}): Promise<RealGuest> {
  const guest = await boot(umid);
  await house.configure({ one: settingsOf(guest, { notify: notify(), ...more }) });
  return guest;
}

async function eventsOf(...args: string[]): Promise<Record<string, unknown>[]> {
  const { exitCode, stderr, json } = await house.run(['--json', 'events', ...args]);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return json;
}

describe('a daemon', () => {
  let daemon: TestDaemon;
  afterEach(() => daemon.end());

  test('writes down what a guest says from its boot on, which events shows and follows', async () => {
    await house.configure({
      one: { mconsole: 'told', notify: notify(), disks: { ubd0: join(house.dir, 'none.img') } },
    });
    daemon = await TestDaemon.start(house, ['debug']);
    await daemon.untilLogged(/^listening to the guest$/);
    const guest = await boot('told', { agent: 'busybox' });
    await daemon.untilLogged(/^the guest booted$/);
    await house.configure({ one: { ...settingsOf(guest, { notify: notify() }), mconsole: 'told' } });
    await daemon.reload();

    const following = house.start(['--json', 'events', 'one', '--follow']);
    await guest.sh(String.raw`printf 'the \033[2J database was upgraded\n' > /proc/mconsole`);
    await following.waitForOutput(/database was upgraded/);
    following.kill('SIGINT');
    expect(await following.exited).toMatchObject({ exitCode: 0, stderr: '' });
    const [booted, message, ...more] = await eventsOf('one');
    expect(booted).toMatchObject({ type: 'event', guest: 'one', event: 'booted', text: guest.socketPath });
    expect(message).toMatchObject({ guest: 'one', event: 'message', missed: 0 });
    expect(message?.text).toMatch(/^the .*database was upgraded$/);
    expect(JSON.stringify(message)).not.toContain('\\u001b');
    expect(more).toEqual([]);

    // Nobody but the guest itself has said where its console is: its umid's directory is in a home that is not ours.
    const { exitCode, json, stderr } = await house.run(['--json', 'snapshot', 'one', '--require', 'frozen']);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(json.at(-1)).toMatchObject({ consistency: 'frozen' });
    const { json: status } = await house.run(['--json', 'status']);
    expect(status.at(-1)).toMatchObject({ guest: 'one', state: 'running', agent: true });
    await guest.kill();
  });
});

describe('a job', () => {
  /** In the middle of its bulk, which would take a minute. */
  async function endedBy(umid: string, end: (guest: RealGuest) => Promise<unknown>): Promise<CliResult> {
    const guest = await bootAndConfigure(umid, { capture: 'precopy', precopyRate: '1MiB/s' });
    const cli = house.start(['--json', 'snapshot', 'one']);
    await cli.waitForOutput(/"doneBytes":[1-9]/);
    await end(guest);
    const result = await cli.exited;
    await guest.kill();
    expect(result.exitCode).toBe(1);
    expect(await house.incomings()).toEqual([]);
    return result;
  }

  test('is given up at once when its guest panics, and so it is told', async () => {
    const result = await endedBy('panics', async (guest) => {
      void guest.mconsole('sysrq c').catch(() => {}); // nobody answers it
    });
    expect(result.json.at(-1)).toMatchObject({
      ...{ status: 'failed', resumed: false, error: { code: 'GuestPanicked', phase: 'precopy' } },
    });
    expect(await eventsOf('one', '--limit', '1')).toMatchObject([{ event: 'panic' }]);
    const { json } = await house.run(['--json', 'show', String(result.json.at(-1)?.job)]);
    const log = json[0]?.log as { level: string; text: string }[];
    const said = log.findIndex(({ level, text }) => level === 'warn' && text.startsWith('guest, panic: '));
    const failed = log.findIndex(({ text }) => text.startsWith('GuestPanicked in precopy: '));
    expect(said).toBeGreaterThan(0);
    expect(failed).toBeGreaterThan(said);
  });

  test('is given up at once when its guest reboots, and so it is told', async () => {
    const result = await endedBy('reboots', (guest) => guest.sh('(sleep 0.2; reboot -f) > /dev/null 2>&1 &'));
    expect(result.json.at(-1)).toMatchObject({
      ...{ status: 'failed', resumed: true, error: { code: 'GuestRebooted', phase: 'precopy' } },
    });
    await waitFor('its event', async () => (await eventsOf('one', '--limit', '1'))[0]?.event === 'booted');
  });
});
