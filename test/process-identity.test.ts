import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bootId, isAlive, ownIdentity, readProcessStat } from '../src/process-identity.js';
import { pidOf } from './support/pid-of.js';
import { withTempDir } from './support/temp-dir.js';
import { waitFor } from './support/wait-for.js';

test('a living process is alive, and by another start time is another process of the same pid', () => {
  const own = ownIdentity();
  expect(own.pid).toBe(process.pid);
  expect(isAlive(own)).toBe(true);
  expect(isAlive({ ...own, startTicks: own.startTicks - 1 })).toBe(false);
});

test('the time that a process has had of the CPUs is what the kernel tells it itself', () => {
  const ownMs = () => (process.cpuUsage().user + process.cpuUsage().system) / 1000;
  const before = ownMs();
  const { cpuTicks = Number.NaN } = readProcessStat(process.pid) ?? {};
  expect(cpuTicks * 10).toBeGreaterThan(before - 30);
  expect(cpuTicks * 10).toBeLessThan(ownMs() + 30);
});

test('a process that is dead is not alive, whether or not its parent has looked', async () => {
  // The shell's child becomes a zombie: the shell turns into a sleep, which buries nobody.
  const parent = spawn('sh', ['-c', 'true & exec sleep 60'], { stdio: 'ignore' });
  try {
    const zombie = await waitFor('a zombie', () =>
      readdirSync('/proc')
        .filter((name) => /^\d+$/.test(name))
        .map((name) => readProcessStat(Number(name)))
        .find((stat) => stat?.parentPid === pidOf(parent) && stat.state === 'Z'),
    );
    expect(isAlive(zombie)).toBe(false);
  } finally {
    parent.kill('SIGKILL');
    await once(parent, 'exit');
  }
  expect(readProcessStat(pidOf(parent))).toBeUndefined();
});

test('a process that calls itself `) Z 1 (` is read all the same', () =>
  withTempDir(async (dir) => {
    const program = join(dir, ') Z 1 (');
    await copyFile('/bin/sleep', program);
    const child = spawn(program, ['60']);
    try {
      await once(child, 'spawn');
      const stat = await waitFor('the new name', () => readProcessStat(pidOf(child)));
      expect(stat).toMatchObject({ pid: child.pid, parentPid: process.pid });
      expect(isAlive(stat)).toBe(true);
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }));

test('this boot has an id', () => {
  expect(bootId()).toMatch(/^[0-9a-f-]{36}$/);
  expect(bootId()).toBe(bootId());
});
