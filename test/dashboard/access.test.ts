import { describe, expect, test } from 'vitest';
import { type Caller, decideAccess } from '../../src/dashboard/access.js';

const ours: Caller = {
  ...{ via: 'tcp', method: 'GET', host: '127.0.0.1:8460', origin: undefined, fetchSite: undefined },
  proves: null,
};
const decide = (more: Partial<Caller>, readWithoutToken = false) =>
  decideAccess({ ...ours, ...more }, { hosts: ['backup.example.org'], readWithoutToken });

test('whoever gets to a port reads without a token where the config says so, and presses no button', () => {
  expect(decide({}, true)).toEqual({ may: 'read' });
  expect(decide({ method: 'POST' }, true)).toEqual({ may: 'read' });
  expect(decide({ proves: 'scrape' }, true)).toEqual({ may: 'read' });
});

describe('a name that DNS can point to us', () => {
  test.each([
    ...['evil.example', 'evil.example:8460', '127.0.0.1.evil.example', 'localhost.evil.example'],
    ...['', 'a b', undefined],
  ])('is refused, with whatever cookie, and a whole one on the socket as well: %s', (host) => {
    expect(decide({ host, proves: 'act' })).toEqual({ may: null, because: 'host' });
    if (host?.includes('.')) expect(decide({ host, via: 'socket' })).toEqual({ may: null, because: 'host' });
  });

  test.each([
    ...['127.0.0.1', '192.0.2.7:8460', '[::1]:8460', 'LOCALHOST:1', 'a.localhost'],
    'Backup.Example.org:443',
  ])('is not among these: %s', (host) => {
    expect(decide({ host, proves: 'act' })).toEqual({ may: 'act' });
  });

  test('is none that programs make up for the socket', () => {
    for (const host of ['umlsnap', 'localhost', undefined])
      expect(decide({ host, via: 'socket' })).toEqual({ may: 'act' });
  });
});

describe('what changes something', () => {
  const post = (more: Partial<Caller>) => decide({ method: 'POST', proves: 'act', ...more });
  const origin = 'http://127.0.0.1:8460';

  test('is taken from pages of ours, also behind a proxy that speaks TLS, and from programs', () => {
    const [host, proxied] = ['backup.example.org', 'https://backup.example.org'];
    for (const from of [{ origin, fetchSite: 'same-origin' }, { origin: proxied, host }, {}])
      expect(post(from)).toEqual({ may: 'act' });
  });

  test.each([
    { origin: 'http://evil.example' },
    { origin: 'http://127.0.0.1:8461' },
    { origin: 'null' },
    { fetchSite: 'cross-site' },
    { fetchSite: 'same-site' },
    { origin, fetchSite: 'cross-site' },
  ])('is not taken from another site, nor from another port: %o', (headers) => {
    expect(post(headers)).toEqual({ may: null, because: 'origin' });
    expect(post({ ...headers, via: 'socket' })).toEqual({ may: null, because: 'origin' });
    expect(decide({ method: 'GET', proves: 'act', ...headers })).toEqual({ may: 'act' });
  });
});
