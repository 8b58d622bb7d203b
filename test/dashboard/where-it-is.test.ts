import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { withTempDir } from '../support/temp-dir.js';
import { TestDaemon } from '../support/test-daemon.js';
import { type Crowd, makeCrowd } from './crowd.js';

/** Runs `use` beside a daemon with this dashboard in its config. */
const withDaemon = (
  dashboard: unknown,
  use: (daemon: TestDaemon, crowd: Crowd, curl: (path: string) => Promise<string>) => Promise<void>,
) =>
  withTempDir(async (dir) => {
    const crowd = await makeCrowd(dir, { guests: 1, jobsPerGuest: 2, jobsWithPhases: 2 }, { dashboard });
    const socket = ['-sS', '--unix-socket', `${crowd.state}/control.sock`];
    const curl = async (path: string) => (await execa('curl', [...socket, `http://umlsnap${path}`])).stdout;
    const daemon = await TestDaemon.start(crowd);
    await use(daemon, crowd, curl).finally(() => daemon.end());
  });

describe('a daemon', () => {
  test('whose port is taken runs all the same, says so, and is seen on its socket', async () => {
    const other = createServer();
    await once(other.listen(0, '127.0.0.1'), 'listening');
    const { port } = other.address() as AddressInfo;
    await withDaemon({ listen: `127.0.0.1:${port}` }, async (daemon, crowd, curl) => {
      const taken = new RegExp(`port ${port} of 127.0.0.1 is taken by another process`);
      expect(daemon.logged(taken)).toHaveLength(1);
      const stderr = expect.stringContaining('is taken by');
      expect(await crowd.start(['ctl', 'dashboard']).exited).toMatchObject({ exitCode: 1, stderr });
      expect(await curl('/')).toContain('web-001');
    }).finally(() => other.close());
  });

  test('has pages nowhere with dashboard: false', () =>
    withDaemon(false, async (daemon, crowd, curl) => {
      expect(daemon.logged(/^dashboard$/)).toEqual([]);
      expect(await crowd.start(['ctl', 'dashboard']).exited).toMatchObject({ exitCode: 2 });
      expect(await curl('/metrics')).toContain('there is no GET /metrics');
    }));
});
