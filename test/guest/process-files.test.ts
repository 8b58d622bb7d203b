import { expect, test } from 'vitest';
import { readOfProcess } from '../../src/guest/process-files.js';

test('what a process has in its own memory is read up to a bound, for it may say that this is without an end', () => {
  const whole = readOfProcess(process.pid, 'cmdline', 64 * 1024);
  expect(whole?.toString().split('\0')[0]).toContain('node');
  const { length } = whole ?? Buffer.alloc(0);
  expect(readOfProcess(process.pid, 'cmdline', length)).toEqual(whole);
  expect(readOfProcess(process.pid, 'cmdline', length - 1)).toBeNull();
});
