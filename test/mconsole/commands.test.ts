import { expect, test } from 'vitest';
import {
  cad,
  go,
  help,
  log,
  proc,
  queryConfig,
  readGoAnswer,
  readStopAnswer,
  removeDevice,
  setConfig,
  stop,
  sysrq,
  version,
} from '../../src/mconsole/commands.js';
import { patient as options, setFakeGuest } from './with-client.js';

const withClient = setFakeGuest();

test('stop and go tell what they did from what somebody else had done already', () =>
  withClient([], async (client) => {
    expect(await go(client, options)).toBe('notStopped');
    expect(await stop(client, options)).toBe('stopped');
    expect(await stop(client, options)).toBe('alreadyStopped');
    expect(await go(client, options)).toBe('resumed');
  }));

test('the empty answer to stop of a kernel before 2.6.19 means stopped too', async () => {
  expect(await readStopAnswer(Promise.resolve(''))).toBe('stopped');
});

test('a text that no UML answers to stop or go is not read as success', async () => {
  await expect(readStopAnswer(Promise.resolve('stopping'))).rejects.toMatchObject({ code: 'CommandRefused' });
  await expect(readGoAnswer(Promise.resolve('stopped'))).rejects.toMatchObject({ code: 'CommandRefused' });
});

test('other failures of stop and go stay failures', () =>
  withClient([{ fault: { kind: 'garbledAnswer', form: 'empty' } }], async (client) => {
    await expect(stop(client, options)).rejects.toMatchObject({ code: 'ReplyMalformed' });
    await expect(go(client, options)).rejects.toMatchObject({ code: 'ReplyMalformed' });
  }));

test('a file of /proc comes without the newline that the kernel puts before it; one that is not there is a refusal', () =>
  withClient([], async (client) => {
    expect(await proc(client, 'sys/kernel/sysrq', options)).toBe('1\n');
    expect(await proc(client, 'cpuinfo', options)).toMatch(/^processor/);
    await expect(proc(client, 'meminfo', options)).rejects.toMatchObject({
      code: 'CommandRefused',
      facts: { command: 'proc meminfo', err: 1, text: 'Failed to open file' },
    });
  }));

test('what stands behind a device is told, and nothing when it is unset', () =>
  withClient([], async (client) => {
    expect(await queryConfig(client, 'ubd0', options)).toBe('');
    await expect(queryConfig(client, 'eth0', options)).rejects.toMatchObject({ code: 'CommandRefused' });
  }));

test('a query of a device can not become a change of it, which would let a stopped guest run', () =>
  withClient([], async (client, guest) => {
    for (const device of ['ubd0=/etc/shadow', 'ubd0 ', '', 'ubd0\n', 'UBD0']) {
      await expect(queryConfig(client, device, options)).rejects.toMatchObject({ code: 'Usage' });
      await expect(removeDevice(client, device, options)).rejects.toMatchObject({ code: 'Usage' });
      await expect(setConfig(client, device, 'x', options)).rejects.toMatchObject({ code: 'Usage' });
    }
    expect(guest.received()).toEqual([]);
  }));

test('a sysrq is one key, and never a longer text', () =>
  withClient([], async (client, guest) => {
    await expect(sysrq(client, 'sub', options)).rejects.toMatchObject({ code: 'Usage' });
    await expect(sysrq(client, '', options)).rejects.toMatchObject({ code: 'Usage' });
    expect(await sysrq(client, 's', options)).toBe('sysrq: Emergency Sync\n');
    expect(guest.received()).toHaveLength(1);
  }));

test('a line for the log always ends, so that it does not leak into the next answer', () =>
  withClient([], async (client, guest) => {
    await log(client, 'umlsnap was here', options);
    await log(client, 'and again\n', options);
    expect(guest.received().map(({ command }) => command)).toEqual([
      'log umlsnap was here\n',
      'log and again\n',
    ]);
  }));

test('the other commands are sent by their names', () =>
  withClient([], async (client, guest) => {
    expect(await version(client, options)).toMatch(/^Linux \S+ 6\.1/);
    expect(await help(client, options)).toContain('go - continue');
    await cad(client, options);
    expect(guest.received().map(({ command }) => command)).toEqual(['version', 'help', 'cad']);
  }));
