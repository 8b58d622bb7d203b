import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { TestDaemon } from '../support/test-daemon.js';
import { type Crowd, makeCrowd } from './crowd.js';

let dir: string;
beforeEach(async () => {
  dir = await makeTempDir();
});
afterEach(() => removeTempDir(dir));

const house = (dashboard: unknown): Promise<Crowd> =>
  makeCrowd(dir, { guests: 1, jobsPerGuest: 2, jobsWithPhases: 2 }, { dashboard });

describe('a daemon', () => {
  test('whose port is taken runs all the same, says so, and is seen on its socket', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as AddressInfo;
    const crowd = await house({ listen: `127.0.0.1:${port}` });
    const daemon = await TestDaemon.start(crowd);
    try {
      expect(daemon.logged(new RegExp(`port ${port} of 127.0.0.1 is taken by another process`))).toHaveLength(
        1,
      );
      const { exitCode, stderr } = await crowd.start(['ctl', 'dashboard']).exited;
      expect({ exitCode, stderr }).toMatchObject({
        exitCode: 1,
        stderr: expect.stringContaining('is taken by'),
      });
      const page = await execa('curl', [
        '-sS',
        '--unix-socket',
        `${crowd.state}/control.sock`,
        'http://umlsnap/',
      ]);
      expect(page.stdout).toContain('web-001');
    } finally {
      await daemon.end();
      other.close();
    }
  });

  test('has pages nowhere with dashboard: false', async () => {
    const crowd = await house(false);
    const daemon = await TestDaemon.start(crowd);
    try {
      expect(daemon.logged(/^dashboard$/)).toEqual([]);
      expect(await crowd.start(['ctl', 'dashboard']).exited).toMatchObject({ exitCode: 2 });
      const socket = ['-sS', '--unix-socket', `${crowd.state}/control.sock`];
      expect((await execa('curl', [...socket, 'http://umlsnap/metrics'])).stdout).toContain(
        'there is no GET /metrics',
      );
    } finally {
      await daemon.end();
    }
  });
});
