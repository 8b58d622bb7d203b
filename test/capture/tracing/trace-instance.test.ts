import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync } from 'node:fs';
import { mkdir, rmdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { initThreadIds } from '../../../src/capture/tracing/init-thread-ids.js';
import { initPidNamespace, pidNamespaceOf } from '../../../src/capture/tracing/pid-namespace.js';
import { createTraceInstance, removeStaleInstances } from '../../../src/capture/tracing/trace-instance.js';
import { builtScript } from '../../support/script-child.js';
import { runTool } from '../../support/run-tool.js';
import { whyNoTracing } from './why-no-tracing.js';

const why = await whyNoTracing();
const childScript = builtScript(new URL('./instance-child.ts', import.meta.url));
const toNobody = ['--reuid=65534', '--regid=65534', '--clear-groups'];
const mayNobodyRead = spawnSync('setpriv', [...toNobody, 'test', '-r', childScript]).status === 0;

async function instancesDir(): Promise<string> {
  const instance = await createTraceInstance();
  await instance.remove();
  expect(existsSync(instance.path)).toBe(false);
  return dirname(instance.path);
}

/** Runs `use` with a directory that is there, and gone afterwards. */
async function withForeign(path: string, use: () => Promise<void>): Promise<void> {
  await mkdir(path);
  try {
    await use();
  } finally {
    // Whoever else runs may have taken it for a stale one.
    await rmdir(path).catch(() => {});
  }
}

describe.skipIf(why !== null)('trace instances', () => {
  test('one that a killed process left is removed, and one that is in use stays', async () => {
    const own = await createTraceInstance();
    const child = spawn(process.execPath, [childScript, 'hold'], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const path = String((await once(child.stdout, 'data'))[0]).trim();
      await removeStaleInstances();
      expect([existsSync(path), existsSync(own.path)]).toEqual([true, true]);
      child.kill('SIGKILL');
      await once(child, 'exit');
      await removeStaleInstances();
      expect([existsSync(path), existsSync(own.path)]).toEqual([false, true]);
    } finally {
      child.kill('SIGKILL');
      await own.remove();
    }
  });

  test("other people's instances stay, and those of processes that can't be seen", async () => {
    const dir = await instancesDir();
    const others = `${dir}/somebody-${process.pid}`;
    await withForeign(others, async () => {
      await removeStaleInstances();
      expect(existsSync(others)).toBe(true);
    });
    // Nobody lives in that namespace, which can be known only from the outermost one.
    const unseen = `${dir}/umlsnap-1-1-4026530001-${process.pid.toString(16)}`;
    await withForeign(unseen, async () => {
      await removeStaleInstances();
      expect(existsSync(unseen)).toBe(pidNamespaceOf('self') !== initPidNamespace);
    });
  });

  test('removing one waits for who looks into it just then, and doing so twice is no harm', async () => {
    const instance = await createTraceInstance();
    const fd = openSync(`${instance.path}/trace_pipe`, 'r');
    const removed = instance.remove();
    await sleep(100);
    expect(existsSync(instance.path)).toBe(true);
    closeSync(fd);
    await removed;
    await instance.remove();
    expect(existsSync(instance.path)).toBe(false);
  });

  test('one can be removed when tracefs was unmounted meanwhile, and tracefs is mounted again for the next', async () => {
    const inNamespace = ['--mount', '--propagation', 'private', process.execPath, childScript, 'unmount'];
    const said = (await runTool('unshare', inNamespace)).toString();
    expect(said).toMatch(/^removed \/sys\/kernel\/tracing\/instances\//);
  });

  // Under a home directory of root's, nobody else can read the project.
  test.runIf(mayNobodyRead)('a user who may not trace is told what to do, and disturbs nobody', async () => {
    const asNobody = [...toNobody, process.execPath, childScript, 'probe'];
    const { probe, removed } = JSON.parse((await runTool('setpriv', asNobody)).toString());
    expect(probe).toEqual({ works: false, reason: expect.stringMatching(/run as root/) });
    expect(removed).toEqual([]);
  });

  test('a thread is named to the tracer by its number in the outermost pid namespace', async () => {
    const instance = await createTraceInstance();
    try {
      const [id] = initThreadIds(instance.path, [{ pid: process.pid, tid: process.pid }]);
      const isOutermost = pidNamespaceOf('self') === initPidNamespace;
      expect(id === process.pid).toBe(isOutermost);
      expect(id).toBeGreaterThan(0);
    } finally {
      await instance.remove();
    }
  });
});
