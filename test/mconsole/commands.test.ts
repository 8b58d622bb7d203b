import { expect, test } from 'vitest';
import {
  queryConfig,
  readGoAnswer,
  readStopAnswer,
  removeDevice,
  setConfig,
  sysrq,
} from '../../src/mconsole/commands.js';
import { patient as options } from './with-client.js';

/** What a real guest answers to the commands stands in guests/mconsole.test.ts. */
test('the empty answer to stop of a kernel before 2.6.19 means stopped too, and a text that no UML answers no success', async () => {
  expect(await readStopAnswer(Promise.resolve(''))).toBe('stopped');
  await expect(readStopAnswer(Promise.resolve('stopping'))).rejects.toMatchObject({ code: 'CommandRefused' });
  await expect(readGoAnswer(Promise.resolve('stopped'))).rejects.toMatchObject({ code: 'CommandRefused' });
});

test('a query of a device can not become a change of it, which would let a stopped guest run, nor a sysrq a longer text', async () => {
  const client = { request: () => expect.unreachable() };
  for (const device of ['ubd0=/etc/shadow', 'ubd0 ', '', 'ubd0\n', 'UBD0']) {
    await expect(queryConfig(client, device, options)).rejects.toMatchObject({ code: 'Usage' });
    await expect(removeDevice(client, device, options)).rejects.toMatchObject({ code: 'Usage' });
    await expect(setConfig(client, device, 'x', options)).rejects.toMatchObject({ code: 'Usage' });
  }
  for (const key of ['sub', '']) {
    await expect(sysrq(client, key, options)).rejects.toMatchObject({ code: 'Usage' });
  }
});
