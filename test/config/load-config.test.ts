import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load-config.js';
import { isError } from '../../src/errors.js';
import { configFile, problemsOf, temporaryDirectory } from './write-config.js';

const stores = 'stores: { local: { type: directory, path: /srv/umlsnap } }\n';
const restic = (more: string) =>
  `stores: { r: { type: restic, repository: "rest:http://127.0.0.1/r"${more} } }\n`;
const guest = (settings: string) =>
  `${stores}guests: { a: { mconsole: a, disks: { ubd0: /a.img }${settings} } }\n`;

describe('what is left out', () => {
  test('has the documented defaults', async () => {
    const file = await configFile(guest(''));
    const config = await loadConfig(file);
    expect(config).toMatchObject({ file, concurrency: 2 });
    expect(config.state).toBe(
      process.getuid?.() === 0 ? '/var/lib/umlsnap' : `${process.env.HOME}/.local/state/umlsnap`,
    );
    expect(config.guests.a).toEqual({
      name: 'a',
      mconsole: 'a',
      disks: [{ device: 'ubd0', path: '/a.img' }],
      store: 'local',
      otherStores: [],
      timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
      catchUp: true,
      jitterMs: 0,
      pauseBudgetMs: 5000,
      require: 'synced',
      agent: 'auto',
      notify: `${config.state}/notify/a.sock`,
      notifyOwner: null,
      freezeTimeoutMs: 10_000,
      hooks: { before: null, after: null, failed: null, timeoutMs: 60_000 },
      requests: [],
      capture: 'auto',
      precopyBytesPerSecond: null,
      precopyTracker: 'auto',
      pauseTargetMs: 5,
      keep: {},
      allowSmp: false,
      syncTries: 5,
      settleTimeoutMs: 2000,
      labels: {},
    });
  });

  test('comes from `defaults` first, and a guest wins over them, key by key', async () => {
    const file = await configFile(`${stores}
defaults: { pauseBudget: 1s, keep: { daily: 7 }, schedule: "0 3 * * *", timezone: Europe/Rome, labels: { a: x } }
guests:
  plain: { mconsole: p, disks: { ubd0: /p.img } }
  own: { mconsole: o, disks: { ubd0: /o.img }, pauseBudget: 50ms, keep: { last: 2, within: 2w }, schedule: null }
`);
    const { guests } = await loadConfig(file);
    expect(guests.plain).toMatchObject({
      pauseBudgetMs: 1000,
      keep: { daily: 7 },
      schedule: '0 3 * * *',
      timezone: 'Europe/Rome',
      labels: { a: 'x' },
    });
    expect(guests.own).toMatchObject({ pauseBudgetMs: 50, timezone: 'Europe/Rome', labels: { a: 'x' } });
    expect(guests.own?.keep).toEqual({ last: 2, withinMs: 1_209_600_000 });
    expect(guests.own).not.toHaveProperty('schedule');
  });
});

test('a guest may be free of the precopy rate that all others have', async () => {
  const file = await configFile(`${stores}
defaults: { precopyRate: 50MiB/s, precopyTracker: compared, pauseTarget: 10ms }
guests:
  slow: { mconsole: s, disks: { ubd0: /s.img }, capture: precopy }
  free: { mconsole: f, disks: { ubd0: /f.img }, precopyRate: null, precopyTracker: traced }
`);
  const { guests } = await loadConfig(file);
  const slow = { capture: 'precopy', precopyBytesPerSecond: 52_428_800, precopyTracker: 'compared' };
  expect(guests.slow).toMatchObject({ ...slow, pauseTargetMs: 10 });
  expect(guests.free).toMatchObject({ precopyBytesPerSecond: null, precopyTracker: 'traced' });
});

test('the short and the long form of a disk are the same, in the order of the devices', async () => {
  const file = await configFile(
    `${stores}guests: { a: { mconsole: /run//a, disks: { ubd10: /c, ubd2: { path: /b//x/, backing: /base }, ubd0: /a } } }\n`,
  );
  const { guests } = await loadConfig(file);
  expect(guests.a?.disks).toEqual([
    { device: 'ubd0', path: '/a' },
    { device: 'ubd2', path: '/b/x', backing: '/base' },
    { device: 'ubd10', path: '/c' },
  ]);
});

test('stores may be named in a list, whose first is captured into, and JSON is a config too', async () => {
  const file = await configFile(
    JSON.stringify({
      stores: { x: { type: 'directory', path: '/x' }, y: { type: 'directory', path: '/y' } },
      defaults: { store: ['y', 'x'] },
      guests: {
        a: { mconsole: 'a', disks: { ubd0: '/a' }, store: ['y'] },
        b: { mconsole: 'b', disks: { ubd0: '/b' } },
      },
    }),
  );
  const { guests } = await loadConfig(file);
  expect(guests.a).toMatchObject({ store: 'y', otherStores: [] });
  expect(guests.b).toMatchObject({ store: 'y', otherStores: ['x'] });
});

test('each kind of store has its own defaults, and what waits for an archive lies in the state', async () => {
  const { stores: found } = await loadConfig(
    await configFile(`state: /var/lib/u/
stores:
  t: { type: tar, path: /t/ }
  g: { type: tar, path: /g, compression: gzip, staging: /fast }
  r: { type: restic, repository: /r, passwordCommand: [pass, show, "a b"] }
`),
  );
  const nothing = { passwordFile: null, environmentFile: null };
  expect({ ...found }).toEqual({
    t: { name: 't', type: 'tar', path: '/t', compression: 'zstd', staging: '/var/lib/u/staging/t' },
    g: { name: 'g', type: 'tar', path: '/g', compression: 'gzip', staging: '/fast' },
    r: {
      ...{
        name: 'r',
        type: 'restic',
        repository: '/r',
        passwordCommand: ['pass', 'show', 'a b'],
        ...nothing,
      },
      staging: '/var/lib/u/staging/r',
    },
  });
});

test('a guest that nobody configured is not found under the name of something every object has', async () => {
  const { guests, stores: found } = await loadConfig(await configFile(guest('')));
  expect(guests.constructor).toBeUndefined();
  expect(found.toString).toBeUndefined();
});

test('all problems come at once, in the order of the lines, each with its line and column', async () => {
  expect(
    await problemsOf(`state: var/lib
zz: 1
stores:
  latest: { type: tar, path: /x, compression: lzma }
  b: { type: directory, path: /x/ }
defaults: { store: nope, keep: { last: 0, foo: 1 } }
guests:
  a:
    mconsole: a b
    disks: { ubd0: 5, ubd99: /x }
    jitter: '5'
    require: 'no'
    labels: { a: 1 }
    schedule: 61 * * * *
    capture: postcopy
  b: { mconsole: q, disks: { ubd0: /d, ubd1: { path: /d, backing: /d } }, store: [b, latest, b] }
  c: { mconsole: q, disks: {}, timezone: Mars/X, constructor: 1 }
  d:
`),
  ).toEqual([
    '1:8 state: must be an absolute path',
    '2:1 zz: is no key that umlsnap knows here',
    '4:3 stores.latest: is a reserved word, as in guest@latest',
    '4:47 stores.latest.compression: must be one of zstd, gzip, none',
    '5:31 stores.b.path: is the path of the store "latest" as well',
    '6:20 defaults.store: names the store "nope", which is not under stores: there is latest, b',
    '6:40 defaults.keep.last: must be 1 or more: leave the key out to keep none by this rule',
    '6:43 defaults.keep.foo: is no key that umlsnap knows here',
    '9:15 guests.a.mconsole: must be a umid (63 characters at most, no spaces) or the absolute path of a socket',
    '10:20 guests.a.disks.ubd0: must be a path, or { path, backing } for COW',
    '10:23 guests.a.disks.ubd99: must be a device from ubd0 to ubd15',
    '11:13 guests.a.jitter: must be a duration with its unit, such as 250ms, 5s, 10m, 1h, 1d, 2w',
    '12:14 guests.a.require: must be one of frozen, synced, crash',
    '13:18 guests.a.labels.a: must be text (put it in quotes)',
    '14:15 guests.a.schedule: is no cron expression: minute can\'t be "61"',
    '15:14 guests.a.capture: must be one of auto, reflink, precopy, copy',
    '16:46 guests.b.disks.ubd1: is the disk ubd0 of the guest "b" as well',
    '16:67 guests.b.disks.ubd1.backing: is the disk ubd0 of the guest "b", which is written: it can\'t be a backing file',
    '16:82 guests.b.store: names the store "b" twice',
    '17:18 guests.c.mconsole: is the mconsole of the guest "b" as well',
    '17:28 guests.c.disks: needs at least one disk, such as ubd0',
    '17:42 guests.c.timezone: is no time zone that this system knows, such as Europe/Rome',
    '17:50 guests.c.constructor: is no key that umlsnap knows here',
    '18:5 guests.d: must be a map of keys and values',
  ]);
});

describe('is refused, with a problem that says why:', () => {
  const changed = (from: string | RegExp, to: string) => guest('').replace(from, to);
  const named = (name: string) => changed('{ a:', `{ ${name}:`);
  const among = 'must be one of directory, tar, restic';
  const commandList = 'must be a list of the program and its arguments';
  const names = 'must be the name of a store, or a list of names';
  const isUbd0 = 'is the disk ubd0 of the guest "a" as well';
  const directory = (path: string) => `{ type: directory, path: ${path} }`;
  const stagedAs = (staging: string, a: string) =>
    `stores: { a: ${a}, b: { type: tar, path: /b, staging: ${staging}/ } }\n`;
  const here = restic(', passwordFile: /p').replace('rest:http://127.0.0.1/r', 'backups/r');
  test.each([
    ['a guest without mconsole and disks', `${stores}guests: { a: {} }`, ['must be text', 'must be a map']],
    ['a list in place of the config', '- a\n', ['must be a map']],
    [
      'a disk that two guests write',
      changed(/ }\n$/, ', b: { mconsole: b, disks: { ubd3: //a.img } } }'),
      [isUbd0],
    ],
    ['a relative disk', changed('/a.img', 'a.img'), ['must be an absolute path']],
    ['a disk name that UML would split', changed('/a.img', '"/a,b.img"'), ['must not contain , or :']],
    ['a path with a newline', changed('/a.img', '"/a\\nb"'), ['control characters']],
    ['a device past ubd15', changed('ubd0', 'ubd16'), ['from ubd0 to ubd15']],
    ['a device with a leading zero', changed('ubd0', 'ubd01'), ['from ubd0 to ubd15']],
    ['a guest with a dot in its name', named('a.b'), ['must be a name']],
    ['a guest that leaves its directory', named('"../a"'), ['must be a name']],
    ['a guest named __proto__', named('__proto__'), ['must be a name']],
    ['a guest named latest', named('latest'), ['reserved word']],
    ['a name of 64 characters', named('a'.repeat(64)), ['must be a name']],
    ['a umid with a slash', changed('mconsole: a', 'mconsole: a/b'), ['must be a umid']],
    ['a socket path of 108 bytes', changed('mconsole: a', `mconsole: /${'a'.repeat(107)}`), ['107 bytes']],
    ['a guest without a store where there are none', changed(stores, ''), ['needs a store']],
    [
      'one where there are two',
      changed('{ local:', `{ o: ${directory('/o')}, local:`),
      ['needs a store, as there are 2'],
    ],
    ['a schedule that never comes up', guest(', schedule: "0 0 30W 2 *"'), ['never comes up']],
    ['a schedule of seven fields', guest(', schedule: "* * * * * * *"'), ['expected 5 or 6 fields']],
    ['a duration without a unit', guest(', pauseBudget: 5'), ['with its unit']],
    ['a budget of nothing', guest(', pauseBudget: 0s'), ['must lie between 1ms and 1d']],
    ['a quoted boolean', guest(', catchUp: "yes"'), ['true or false']],
    ['a fraction of a try', guest(', syncTries: 1.5'), ['a whole number']],
    ['no try at all', guest(', syncTries: 0'), ['must be 1 or more']],
    ['a concurrency of 65', `concurrency: 65\n${stores}`, ['must be 64 or less']],
    [
      'an unknown way of capturing',
      guest(', capture: magic'),
      ['must be one of auto, reflink, precopy, copy'],
    ],
    ['an unknown tracker', guest(', precopyTracker: guessed'), ['must be one of auto, traced, compared']],
    ['a rate without a unit', guest(', precopyRate: 50'), ['must be text']],
    ['a rate that is a size', guest(', precopyRate: 50MiB'), ['must be a rate with its unit']],
    ['a rate at which nothing moves', guest(', precopyRate: 1kB/s'), ['must be 64KiB/s or more']],
    ['a pause to aim at of nothing', guest(', pauseTarget: 0'), ['must lie between 1ms and 1m']],
    ['an unknown kind of store', stores.replace('directory', 'tape'), [among]],
    ['a store without a type', 'stores: { a: { path: /a } }\n', [among]],
    ['a store that is no map', 'stores: { a: /a }\n', ['must be a map']],
    [
      'a directory that is compressed',
      stores.replace(' }', ', compression: zstd }'),
      ['is no key that umlsnap knows here'],
    ],
    ['a restic store without a password', restic(''), ['needs a passwordFile or a passwordCommand']],
    [
      'one with two passwords',
      restic(', passwordFile: /p, passwordCommand: [pass]'),
      ['stands beside passwordFile'],
    ],
    ['a password command for a shell', restic(', passwordCommand: "pass show x"'), [commandList]],
    ['a password command of nothing', restic(', passwordCommand: []'), [commandList]],
    ['a password in the config', restic(', password: x'), ['needs a passwordFile', 'is no key']],
    ['a repository that depends on where we are', here, ['must be an absolute path, or have a scheme']],
    [
      'two stores with one staging directory',
      stagedAs('/s', '{ type: tar, path: /a, staging: /s }'),
      ['is the staging of the store "a" as well'],
    ],
    [
      'a staging directory that is a store',
      stagedAs('/a', directory('/a')),
      ['is the path of the store "a" as well'],
    ],
    ['a store that is a number', guest(', store: 5'), [names]],
    ['a list of no store', guest(', store: []'), [names]],
    ['a bad label', guest(', labels: { "a=b": c }'), ['must be a label']],
    [
      'a merge key, which YAML 1.2 has not',
      guest(', <<: { catchUp: false }'),
      ['is no key that umlsnap knows'],
    ],
    ['the same key twice', 'state: /a\nstate: /b\n', ['unique']],
    ['tabs as indentation', 'stores:\n\tlocal: 1\n', ['Tabs']],
    ['brackets that nobody closes', 'stores: { local: {\n', ['}', '}']],
    ['two documents', 'state: /a\n---\nstate: /b\n', ['second YAML document']],
    ['a tag that means nothing here', 'state: !path /a\n', ['tag']],
    ['an empty file', '', ['empty']],
    ['a file of comments', '# nothing\n', ['empty']],
  ])('%s', async (_hazard, content, expected) => {
    const problems = await problemsOf(content);
    expect(problems).toHaveLength(expected.length);
    for (const [index, part] of expected.entries()) expect(problems[index]).toContain(part);
  });

  test('a file over 1 MiB, without reading all of it', async () => {
    expect(await problemsOf(Buffer.alloc(1024 * 1024 + 1, '#'))).toEqual([
      '0:0 : the file is larger than 1 MiB, which no config is',
    ]);
    await expect(loadConfig('/dev/zero')).rejects.toMatchObject({ code: 'ConfigInvalid' });
  });

  test('aliases that grow into billions of values', async () => {
    const levels = 'bcdefghij'
      .split('')
      .map((name, index) => `${name}: &${name} [${'*'.concat('abcdefghij'[index] ?? '', ',').repeat(9)}]`);
    expect(await problemsOf(`a: &a [x, x]\n${levels.join('\n')}\n`)).toEqual([
      expect.stringContaining('alias'),
    ]);
  });

  test('a document that is nested a hundred thousand times', async () => {
    expect(await problemsOf('['.repeat(100_000))).not.toEqual([]);
  });

  test('bytes that are no text', async () => {
    expect(await problemsOf(Buffer.from([0x61, 0x3a, 0x20, 0xff, 0xfe]))).toEqual([
      '0:0 : the file is not UTF-8 text',
    ]);
  });

  test('a directory', async () => {
    await expect(loadConfig(await temporaryDirectory())).rejects.toMatchObject({ code: 'ConfigInvalid' });
  });

  test('a file that may not be read', async () => {
    const file = await configFile(guest(''));
    await chmod(file, 0);
    // Root may read every file: as somebody else, then.
    const isRoot = process.getuid?.() === 0;
    if (isRoot) process.seteuid?.(65_534);
    try {
      await expect(loadConfig(file)).rejects.toMatchObject({ code: 'ConfigInvalid' });
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  });
});

test('a file that is not there is told apart from one that is wrong', async () => {
  const file = join(await temporaryDirectory(), 'none.yaml');
  const error = await loadConfig(file).catch((caught: unknown) => caught);
  expect(isError(error, 'ConfigNotFound') && error.facts.tried).toEqual([file]);
});

test('a problem behind an alias is reported where the alias stands', async () => {
  const problems = await problemsOf(`${stores}guests:
  a: { mconsole: a, disks: { ubd0: /a }, keep: &k { last: 0 } }
  b: { mconsole: b, disks: { ubd0: /b }, keep: *k }
`);
  expect(problems.map((problem) => problem.split(' ')[0])).toEqual(['3:59', '4:48']);
});

describe('the agent in a guest', () => {
  test('names the user of its socket as /etc/passwd would, and not by a number or a path', async () => {
    const configWith = (owner: string) => `${stores}guests:
  a: { mconsole: a, disks: { ubd0: /a.img }, notifyOwner: ${owner} }
`;
    const config = await loadConfig(await configFile(configWith('alice')));
    expect(config.guests.a?.notifyOwner).toBe('alice');
    for (const wrong of ['1000', '../alice', '"alice:0"', '"a b"'])
      expect(await problemsOf(configWith(wrong))).toEqual([expect.stringContaining('guests.a.notifyOwner')]);
  });

  test('has a socket of its own: what two guests notify is refused', async () => {
    const problems = await problemsOf(`${stores}
guests:
  a: { mconsole: a, disks: { ubd0: /a.img }, notify: /run/n }
  b: { mconsole: b, disks: { ubd0: /b.img }, notify: /run//n }
`);
    expect(problems).toEqual([expect.stringMatching(/guests.b.notify: is the socket of the guest "a"/)]);
  });

  test('can not be off where `frozen` is required, wherever the two stand', async () => {
    const problems = await problemsOf(`${stores}
defaults: { require: frozen }
guests:
  a: { mconsole: a, disks: { ubd0: /a.img }, agent: off }
  b: { mconsole: b, disks: { ubd0: /b.img }, agent: off, require: synced }
`);
    expect(problems).toEqual([expect.stringMatching(/guests.a: requires frozen/)]);
  });
});

describe('who may ask the daemon', () => {
  test('is nobody but its own user, until a group and guests are named', async () => {
    expect((await loadConfig(await configFile(guest('')))).control).toEqual({ group: null });
    const file = await configFile(`control: { group: backup }\n${guest(', requests: [snapshot, status]')}`);
    const { control, guests } = await loadConfig(file);
    expect(control).toEqual({ group: 'backup' });
    expect(guests.a?.requests).toEqual(['snapshot', 'status']);
  });

  test('is told when it is no group, or nothing that can be asked for', async () => {
    const problems = await problemsOf(`control: { group: "a:b" }\n${guest(', requests: [reboot]')}`);
    expect(problems).toEqual([
      expect.stringMatching(/^1:.*control.group: must be the name of a group/),
      expect.stringMatching(/guests.a.requests.0: must be one of snapshot, verify/),
    ]);
  });
});

test('who is told, and what is run, is held against what can be told and run', async () => {
  expect(
    await problemsOf(`alerts:
  - { command: [tell] }
  - { mail: "root, -oQ/tmp" }
  - { webhook: ftp://a, mail: root }
  - { ping: https://a/b, on: [failure] }
  - { command: [/bin/tell], on: [disaster] }
  - { webhook: "https://me:secret@a/b" }
defaults:
  hooks: { before: /bin/x, after: [], timeout: 1, between: [/bin/x] }
`),
  ).toEqual([
    '2:16 alerts.0.command: must begin with the absolute path of a program',
    '3:13 alerts.1.mail: must be a mail address',
    '4:16 alerts.2.webhook: must be an address that begins with https:// or http://',
    '5:5 alerts.3: a ping tells of every backup: `on` has no meaning for it',
    '6:34 alerts.4.on.0: must be one of failure, recovery, overdue, stopped, warning',
    '7:16 alerts.5.webhook: must have no user and no password in it',
    '9:20 defaults.hooks.before: must be a list: the absolute path of a program, and its arguments',
    '9:35 defaults.hooks.after: must begin with the absolute path of a program',
    '9:48 defaults.hooks.timeout: must be a duration between 1s and 1d, such as 30s or 10m',
    '9:51 defaults.hooks.between: is no key that umlsnap knows here',
  ]);
});

describe('verification', () => {
  test('is by hand only, of filesystems too, until the config says otherwise', async () => {
    const { verify } = await loadConfig(
      await configFile(`defaults: { timezone: Europe/Rome }\n${guest('')}`),
    );
    expect(verify).toEqual({
      ...{ schedule: null, timezone: 'Europe/Rome', withinMs: 30 * 86_400_000, bytesPerSecond: null },
      ...{ filesystems: true, scratch: null, user: 'nobody' },
    });
  });

  test('has every problem told with its line', async () => {
    const problems = await problemsOf(
      `verify:\n  schedule: "99 * * * *"\n  within: 5\n  rate: 50\n  scratch: tmp\n  user: "a:b"\n  fast: true\n${guest('')}`,
    );
    expect(problems).toEqual([
      expect.stringMatching(/^2:.*verify.schedule: is no cron expression/),
      expect.stringMatching(/^3:.*verify.within: must be a duration/),
      expect.stringMatching(/^4:.*verify.rate: must be text/),
      expect.stringMatching(/^5:.*verify.scratch: must be an absolute path/),
      expect.stringMatching(/^6:.*verify.user: must be the name of a user/),
      expect.stringMatching(/^7:.*verify.fast: is no key/),
    ]);
  });
});
