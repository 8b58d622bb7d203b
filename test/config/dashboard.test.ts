import { expect, test } from 'vitest';
import { loaded, problemsOf } from './write-config.js';

const dashboardOf = async (text: string) => (await loaded(`state: /s\n${text}`)).dashboard;

test('the dashboard is on loopback, and asks everybody for a token, unless the config says otherwise', async () => {
  const byDefault = {
    ...{ address: '127.0.0.1', port: 8460, tokenFile: '/s/dashboard.token' },
    ...{ hosts: [], readWithoutToken: false },
  };
  expect(await dashboardOf('concurrency: 2')).toEqual(byDefault);
  expect(await dashboardOf('dashboard: {}')).toEqual(byDefault);
  expect(await dashboardOf('dashboard: false')).toBeNull();
});

test('it listens on addresses of both kinds, and knows names in lower case', async () => {
  expect(await dashboardOf("dashboard: { listen: '[::1]:9', hosts: [Backup.Example.ORG] }")).toMatchObject({
    ...{ address: '::1', port: 9, hosts: ['backup.example.org'] },
  });
  expect(await dashboardOf('dashboard: { listen: 192.0.2.7:0 }')).toMatchObject({ address: '192.0.2.7' });
});

test('it is never open to readers beyond this host', async () => {
  const open = (listen: string) =>
    problemsOf(`dashboard:\n  listen: '${listen}'\n  readWithoutToken: true\n`);
  const beyond = 'is for a loopback address only: anybody else needs a token to read';
  expect(await open('0.0.0.0:8460')).toEqual([`3:21 dashboard.readWithoutToken: ${beyond}`]);
  for (const listen of ['127.9.9.9:1', '[::1]:1']) expect(await open(listen)).toEqual([]);
});

test('it shows every problem at its own place', async () => {
  const wrong = 'dashboard:\n  listen: localhost:80\n  hosts: ["a:1"]\n  tokenFile: here\n  colour: red\n';
  const noAddress = 'must be an address and a port, such as 127.0.0.1:8460 or [::1]:8460';
  expect(await problemsOf(wrong)).toEqual([
    `2:11 dashboard.listen: ${noAddress}`,
    '3:11 dashboard.hosts.0: must be a name of this host, without a port',
    '4:14 dashboard.tokenFile: must be an absolute path',
    '5:3 dashboard.colour: is no key that umlsnap knows here',
  ]);
  for (const listen of ['127.0.0.1', '127.0.0.1:65536', '1.2.3:80', '::1:80', '[127.0.0.1]:80', ':80'])
    expect(await problemsOf(`dashboard: { listen: '${listen}' }`)).toEqual([
      expect.stringContaining(noAddress),
    ]);
  expect(await problemsOf('dashboard: true')).toEqual(['1:12 dashboard: must be a map of keys and values']);
});
