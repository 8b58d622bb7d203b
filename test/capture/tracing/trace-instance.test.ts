import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { mkdir, rmdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { initThreadIds } from '../../../src/capture/tracing/init-thread-ids.js';
import { initPidNamespace, pidNamespaceOf } from '../../../src/capture/tracing/pid-namespace.js';
import {
  createTraceInstance,
  removeStaleInstances,
  type TraceInstance,
} from '../../../src/capture/tracing/trace-instance.js';
import { runTool } from '../../support/run-tool.js';
import { builtScript, startScript } from '../../support/script-child.js';
import { waitFor } from '../../support/wait-for.js';
import { whyNoTracing } from './why-no-tracing.js';

const why = await whyNoTracing();
const childScript = new URL('./instance-child.ts', import.meta.url);
const child = builtScript(childScript);
const ownNamespace = pidNamespaceOf('self');
const toNobody = ['--reuid=65534', '--regid=65534', '--clear-groups'];
const mayNobodyRead = spawnSync('setpriv', [...toNobody, 'test', '-r', child]).status === 0;

describe.skipIf(why !== null)('trace instances', () => {
  let own: TraceInstance;
  beforeEach(async () => {
    own = await createTraceInstance();
  });
  afterEach(() => own.remove());

  test('one that a killed process left is removed, and one that is in use stays', async () => {
    const holder = startScript(childScript, ['hold']);
    try {
      const path = await waitFor('its instance', () => holder.lines[0]);
      await removeStaleInstances();
      expect([existsSync(path), existsSync(own.path)]).toEqual([true, true]);
      holder.kill('SIGKILL');
      await holder.exited;
      await removeStaleInstances();
      expect([existsSync(path), existsSync(own.path)]).toEqual([false, true]);
    } finally {
      holder.kill('SIGKILL');
    }
  });

  test.each([
    ['of somebody else stays', 'somebody-', true],
    // Nobody lives in that namespace, which can be known only from the outermost one.
    ["of a process stays if it can't be seen", 'umlsnap-1-1-4026530001-', ownNamespace !== initPidNamespace],
  ])('one %s', async (_, name, stays) => {
    const path = `${dirname(own.path)}/${name}${process.pid.toString(16)}`;
    await mkdir(path);
    await removeStaleInstances();
    const isThere = existsSync(path);
    // Whoever else runs may have taken it for a stale one.
    await rmdir(path).catch(() => {});
    expect(isThere).toBe(stays);
  });

  test('removing one waits for who looks into it just then, and doing so twice is no harm', async () => {
    const fd = openSync(`${own.path}/trace_pipe`, 'r');
    const removed = own.remove();
    await sleep(100);
    expect(existsSync(own.path)).toBe(true);
    closeSync(fd);
    await removed;
    await own.remove();
    expect(existsSync(own.path)).toBe(false);
  });

  test('one can be removed when tracefs was unmounted meanwhile, and tracefs is mounted again for the next', async () => {
    const inNamespace = ['--mount', '--propagation', 'private', process.execPath, child, 'unmount'];
    const said = (await runTool('unshare', inNamespace)).toString();
    expect(said).toMatch(/^removed \/sys\/kernel\/tracing\/instances\//);
  });

  // Under a home directory of root's, nobody else can read the project.
  test.runIf(mayNobodyRead)('a user who may not trace is told what to do, and disturbs nobody', async () => {
    const asNobody = [...toNobody, process.execPath, child, 'probe'];
    const { probe, removed } = JSON.parse((await runTool('setpriv', asNobody)).toString());
    expect(probe).toEqual({ works: false, reason: expect.stringMatching(/run as root/) });
    expect(removed).toEqual([]);
  });

  test('a thread is named to the tracer by its number in the outermost pid namespace', () => {
    const [id] = initThreadIds(own.path, [{ pid: process.pid, tid: process.pid }]);
    expect(id === process.pid).toBe(ownNamespace === initPidNamespace);
    expect(id).toBeGreaterThan(0);
  });
});
