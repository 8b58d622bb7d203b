import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ConsoleWatch, keptLines, matcherOf } from '../../src/drill/console-watch.js';
import { failureOfEnd, failureOn } from '../../src/drill/guest-failure.js';
import { hasMappedPages, hasRealRoot } from '../../src/drill/proof-of-life.js';

describe('a failure of the guest', () => {
  test.each([
    ['VFS: Unable to mount root fs on unknown-block(98,0)', 'rootNotMounted'],
    ['No working init found.  Try passing init= option to kernel.', 'noInit'],
    ['Requested init /sbin/foo failed (error -2).', 'noInit'],
    ['Attempted to kill init! exitcode=0x00000100', 'initDied'],
    ['Out of memory: compulsory panic_on_oom is enabled', 'panicked'],
  ])('is told from the others by the words of the kernel: %s', (why, failure) => {
    const console = `Run /sbin/init as init process\nKernel panic - not syncing: ${why}\nCPU: 0\n`;
    expect(failureOn(console)?.failure).toBe(failure);
  });

  test('carries what the filesystem itself has to say, and not what other types make of it', () => {
    const console = [
      "EXT2-fs (ubda): error: couldn't mount because of unsupported optional features (2c0)",
      'EXT4-fs (ubda): bad geometry: block count 65536 exceeds size of device (32768 blocks)',
      'Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(98,0)',
    ].join('\n');
    expect(failureOn(console)?.detail).toMatch(/^EXT4-fs \(ubda\): bad geometry/);
  });

  test('is none where nothing has happened, and the end of a kernel is always one', () => {
    expect(failureOn('debian login: ')).toBeNull();
    const detail = 'its kernel exited with 0: reboot: System halted';
    const end = failureOfEnd('reboot: System halted\n', true, 'its kernel exited with 0');
    expect(end).toEqual({ failure: 'ended', detail });
    expect(failureOfEnd('', false, 'its kernel exited with 1').failure).toBe('kernelDidNotStart');
  });

  test('is looked for in a time that no text of a guest can stretch', () => {
    const before = process.cpuUsage();
    failureOn(`${'EXT4-fs error bad '.repeat(4000)}\n${'Kernel panic '.repeat(4000)}`);
    matcherOf(`${'a*'.repeat(90)}b`)('a'.repeat(65_536));
    // Of the processor: how busy it is otherwise makes no difference.
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(5000);
  });
});

describe('what is expected on a console', () => {
  test('is found in a line that has not ended, in pieces, and across colours', () => {
    const watch = new ConsoleWatch('debian login:');
    for (const piece of ['Welcome\n\u001b[1mdeb', 'ian\u001b[0m lo', 'gin: '])
      watch.takeConsole(Buffer.from(piece));
    expect(watch.foundLine).toBe('debian login:');
    expect(watch.tail).not.toContain('\u001b');
  });

  test('is not found across lines, and a notification counts as well', () => {
    const watch = new ConsoleWatch('all * up');
    watch.takeConsole(Buffer.from('all of it\nis up\n'));
    expect(watch.foundLine).toBeNull();
    watch.takeNotification('drill: all tables are up');
    expect(watch.foundLine).toBe('drill: all tables are up');
  });

  test('stands for itself but for the star, whatever it holds', () => {
    const texts = [fc.string(), fc.string(), fc.string()] as const;
    fc.assert(
      fc.property(...texts, (before, text, after) => {
        const literal = text.replaceAll('*', '');
        expect(matcherOf(literal)(before + literal + after)).toBe(true);
      }),
    );
    expect(matcherOf('a*c')('abc')).toBe(true);
    expect(matcherOf('a*c')('ca')).toBe(false);
    expect(matcherOf('.')('x')).toBe(false);
  });

  test('keeps only so much of a flood', () => {
    const watch = new ConsoleWatch(null);
    for (let i = 0; i < 50; i += 1) watch.takeConsole(Buffer.alloc(65_536, `flood ${i}\n`));
    expect(watch.tail.length).toBeLessThanOrEqual(65_536);
    expect(keptLines(watch.tail).length).toBeLessThanOrEqual(40);
    expect(keptLines('x'.repeat(100_000)).join('').length).toBeLessThanOrEqual(4000);
  });
});

test('an init is believed only on a real root, with a program that is mapped', () => {
  const onRootfs = '1 1 0:2 / / rw - rootfs rootfs rw\n';
  const onDisk = '16 1 98:0 / / rw,relatime - ext4 /dev/root rw\n17 16 0:5 / /dev rw - tmpfs x rw';
  expect([onRootfs, '', onDisk].map(hasRealRoot)).toEqual([false, false, true]);
  expect(['nr_mapped 0\n', 'nr_dirty 0\nnr_mapped 205\n'].map(hasMappedPages)).toEqual([false, true]);
});
