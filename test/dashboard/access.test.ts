import { describe, expect, test } from 'vitest';
import { type Caller, decideAccess } from '../../src/dashboard/access.js';

const rules = { hosts: ['backup.example.org'], readWithoutToken: false };
const caller = (more: Partial<Caller> = {}): Caller => ({
  ...{ via: 'tcp', method: 'GET', host: '127.0.0.1:8460', origin: undefined, fetchSite: undefined },
  ...{ proves: null, ...more },
});
const decide = (more: Partial<Caller>, open = false) =>
  decideAccess(caller(more), { ...rules, readWithoutToken: open });

describe('whoever gets to a port', () => {
  test('proves that he may, and sees nothing before', () => {
    expect(decide({})).toEqual({ may: null, because: 'login' });
    expect(decide({ proves: 'act' })).toEqual({ may: 'act' });
  });

  test('reads without a token where the config says so, and presses no button', () => {
    expect(decide({}, true)).toEqual({ may: 'read' });
    expect(decide({ method: 'POST' }, true)).toEqual({ may: 'read' });
    expect(decide({ proves: 'scrape' }, true)).toEqual({ may: 'read' });
  });

  test('gets the metrics and no page with the token that a scraper holds', () => {
    expect(decide({ proves: 'scrape' })).toEqual({ may: 'scrape' });
  });
});

describe('a name that DNS can point to us', () => {
  test.each([
    'evil.example',
    'evil.example:8460',
    '127.0.0.1.evil.example',
    'localhost.evil.example',
    '',
    'a b',
    undefined,
  ])('is refused, with whatever cookie: %s', (host) => {
    expect(decide({ host, proves: 'act' })).toEqual({ may: null, because: 'host' });
  });

  test.each(['evil.example', 'localhost.evil.example'])('is refused on the socket as well: %s', (host) => {
    expect(decide({ host, via: 'socket' })).toEqual({ may: null, because: 'host' });
  });

  test.each([
    '127.0.0.1',
    '192.0.2.7:8460',
    '[::1]:8460',
    'LOCALHOST:1',
    'a.localhost',
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

  test('is taken from pages of ours, also behind a proxy that speaks TLS, and from programs', () => {
    expect(post({ origin: 'http://127.0.0.1:8460', fetchSite: 'same-origin' })).toEqual({ may: 'act' });
    expect(post({ origin: 'https://backup.example.org', host: 'backup.example.org' })).toEqual({
      may: 'act',
    });
    expect(post({})).toEqual({ may: 'act' });
  });

  test.each([
    { origin: 'http://evil.example' },
    { origin: 'http://127.0.0.1:8461' },
    { origin: 'null' },
    { fetchSite: 'cross-site' },
    { fetchSite: 'same-site' },
    { origin: 'http://127.0.0.1:8460', fetchSite: 'cross-site' },
  ])('is not taken from another site, nor from another port: %o', (headers) => {
    expect(post(headers)).toEqual({ may: null, because: 'origin' });
    expect(post({ ...headers, via: 'socket' })).toEqual({ may: null, because: 'origin' });
    expect(decide({ method: 'GET', proves: 'act', ...headers })).toEqual({ may: 'act' });
  });
});
