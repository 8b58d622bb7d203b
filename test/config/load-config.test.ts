import { chmod, chown, mkdir, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findConfigFile } from '../../src/config/find-config-file.js';
import { loadConfig } from '../../src/config/load-config.js';
import { configFile, loaded, problemsOf, temporaryDirectory } from './write-config.js';

const stores = 'stores: { local: { type: directory, path: /srv/umlsnap } }\n';
const guest = (settings: string) =>
  `${stores}guests: { a: { mconsole: a, disks: { ubd0: /a.img }${settings} } }\n`;
/** Each with a console and a disk of its own. */
const guests = (settings: Record<string, string>) =>
  Object.entries(settings).reduce(
    (text, [name, more]) => `${text}  ${name}: { mconsole: ${name}, disks: { ubd0: /${name} }${more} }\n`,
    'guests:\n',
  );

test('what is left out has the documented defaults', async () => {
  const file = await configFile(guest(''));
  const { state, ...config } = await loadConfig(file);
  const isRoot = process.getuid?.() === 0;
  expect(state).toBe(isRoot ? '/var/lib/umlsnap' : `${process.env.HOME}/.local/state/umlsnap`);
  expect(config).toMatchObject({ file, concurrency: 2, control: { group: null } });
  expect(config.guests.a).toEqual({
    ...{ name: 'a', mconsole: 'a', disks: [{ device: 'ubd0', path: '/a.img' }] },
    ...{ isDrilled: false },
    ...{ store: 'local', otherStores: [], keep: {}, labels: {}, requests: [] },
    ...{ timezone: Intl.DateTimeFormat().resolvedOptions().timeZone, catchUp: true, jitterMs: 0 },
    ...{ pauseBudgetMs: 5000, require: 'crash', allowSmp: false, syncTries: 5, settleTimeoutMs: 2000 },
    ...{
      agent: 'auto',
      notify: `${state}/notify/a.sock`,
      user: null,
      notifyOwner: null,
      freezeTimeoutMs: 10_000,
    },
    hooks: { before: null, after: null, failed: null, timeoutMs: 60_000 },
    ...{ capture: 'auto', precopyBytesPerSecond: null, precopyTracker: 'auto', pauseTargetMs: 5 },
  });
});

test('what is left out comes from `defaults` first, and a guest wins over them, key by key', async () => {
  const { control, guests: found } = await loaded(`control: { group: backup }
${stores}
defaults: { pauseBudget: 1s, keep: { daily: 7 }, schedule: "0 3 * * *", timezone: Europe/Rome, labels: { a: x },
  precopyRate: 50MiB/s, precopyTracker: compared, pauseTarget: 10ms }
${guests({
  plain: ', capture: precopy, notifyOwner: alice, requests: [snapshot, status]',
  own: ', pauseBudget: 50ms, keep: { last: 2, within: 2w }, schedule: null, precopyRate: null, precopyTracker: traced',
})}`);
  const { plain, own } = found;
  expect(control).toEqual({ group: 'backup' });
  const common = { timezone: 'Europe/Rome', labels: { a: 'x' }, pauseTargetMs: 10 };
  expect(plain).toMatchObject({
    ...{ ...common, pauseBudgetMs: 1000, schedule: '0 3 * * *', keep: { daily: 7 }, capture: 'precopy' },
    ...{ precopyBytesPerSecond: 52_428_800, precopyTracker: 'compared' },
    ...{ notifyOwner: 'alice', requests: ['snapshot', 'status'] },
  });
  const ownPrecopy = { precopyBytesPerSecond: null, precopyTracker: 'traced' };
  expect(own).toMatchObject({ ...common, ...ownPrecopy, pauseBudgetMs: 50 });
  expect(own?.keep).toEqual({ last: 2, withinMs: 1_209_600_000 });
  expect(own).not.toHaveProperty('schedule');
});

test('the short and the long form of a disk are the same, in the order of the devices', async () => {
  const disks = '{ ubd10: /c, ubd2: { path: /b//x/, backing: /base }, ubd0: /a }';
  const config = await loaded(`${stores}guests: { a: { mconsole: /run//a, disks: ${disks} } }\n`);
  expect(config.guests.a?.disks).toEqual([
    { device: 'ubd0', path: '/a' },
    { device: 'ubd2', path: '/b/x', backing: '/base' },
    { device: 'ubd10', path: '/c' },
  ]);
});

test('stores may be named in a list, whose first is captured into, and JSON is a config too', async () => {
  const guestOf = (name: string) => ({ mconsole: name, disks: { ubd0: `/${name}` } });
  const config = {
    stores: { x: { type: 'directory', path: '/x' }, y: { type: 'directory', path: '/y' } },
    defaults: { store: ['y', 'x'] },
    guests: { a: { ...guestOf('a'), store: ['y'] }, b: guestOf('b') },
  };
  const { a, b } = (await loaded(JSON.stringify(config))).guests;
  expect(a).toMatchObject({ store: 'y', otherStores: [] });
  expect(b).toMatchObject({ store: 'y', otherStores: ['x'] });
});

test('each kind of store has its own defaults, and what waits for an archive lies in the state', async () => {
  const { stores: found } = await loaded(`state: /var/lib/u/
stores:
  t: { type: tar, path: /t/ }
  g: { type: tar, path: /g, compression: gzip, staging: /fast }
  r: { type: restic, repository: /r, passwordCommand: [pass, show, "a b"] }
`);
  expect({ ...found }).toEqual({
    t: { name: 't', type: 'tar', path: '/t', compression: 'zstd', staging: '/var/lib/u/staging/t' },
    g: { name: 'g', type: 'tar', path: '/g', compression: 'gzip', staging: '/fast' },
    r: {
      ...{ name: 'r', type: 'restic', repository: '/r', staging: '/var/lib/u/staging/r' },
      ...{ passwordCommand: ['pass', 'show', 'a b'], passwordFile: null, environmentFile: null },
    },
  });
});

test('verification is by hand only, of filesystems too, until the config says otherwise', async () => {
  expect((await loaded(`defaults: { timezone: Europe/Rome }\n${stores}`)).verify).toEqual({
    ...{ schedule: null, timezone: 'Europe/Rome', withinMs: 30 * 86_400_000, bytesPerSecond: null },
    ...{ filesystems: true, scratch: null, user: 'nobody' },
  });
});

const noAddress = 'must be an address and a port, such as 127.0.0.1:8460 or [::1]:8460';
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

test('the dashboard listens on addresses of both kinds, and knows names in lower case', async () => {
  expect(await dashboardOf("dashboard: { listen: '[::1]:9', hosts: [Backup.Example.ORG] }")).toMatchObject({
    ...{ address: '::1', port: 9, hosts: ['backup.example.org'] },
  });
  expect(await dashboardOf('dashboard: { listen: 192.0.2.7:0 }')).toMatchObject({ address: '192.0.2.7' });
});

test('the dashboard is never open to readers beyond this host', async () => {
  const open = (listen: string) =>
    problemsOf(`dashboard:\n  listen: '${listen}'\n  readWithoutToken: true\n`);
  const beyond = 'is for a loopback address only: anybody else needs a token to read';
  expect(await open('0.0.0.0:8460')).toEqual([`3:21 dashboard.readWithoutToken: ${beyond}`]);
  for (const listen of ['127.9.9.9:1', '[::1]:1']) expect(await open(listen)).toEqual([]);
});

test('the dashboard listens nowhere but at an address and a port', async () => {
  for (const listen of ['127.0.0.1', '127.0.0.1:65536', '1.2.3:80', '::1:80', '[127.0.0.1]:80', ':80'])
    expect(await problemsOf(`dashboard: { listen: '${listen}' }`)).toEqual([
      `1:22 dashboard.listen: ${noAddress}`,
    ]);
  expect(await problemsOf('dashboard: true')).toEqual(['1:12 dashboard: must be a map of keys and values']);
});

test('two stores that a link leads to one place are refused: a second copy there is none', async () => {
  const directory = await temporaryDirectory();
  await symlink(directory, join(directory, 'link'));
  const twice = [directory, join(directory, 'link')].map(
    (path) => `{ type: directory, path: ${path}/store }`,
  );
  expect(await problemsOf(`stores:\n  a: ${twice[0]}\n  b: ${twice[1]}\n`)).toEqual([
    expect.stringMatching(/^3:\d+ stores\.b\.path: is the path of the store "a" as well$/),
  ]);
});

test('a console whose path is only spelled in another way is no link, and is not told as one', async () => {
  const directory = await temporaryDirectory();
  const spelled = `/${directory}/../${basename(directory)}//./mconsole`;
  const { links } = await loaded(guest('').replace('mconsole: a', `mconsole: ${spelled}`));
  expect(links).toEqual([]);
});

test('a guest that nobody configured is not found under the name of something every object has', async () => {
  const config = await loaded(guest(''));
  expect(config.guests.constructor).toBeUndefined();
  expect(config.stores.toString).toBeUndefined();
});

describe('all problems come at once, in the order of the lines, each with its line and column:', () => {
  test.each([
    [
      'of guests and their stores',
      `state: var/lib
zz: 1
stores:
  latest: { type: tar, path: /x, compression: lzma }
  b: { type: directory, path: /x/ }
defaults: { store: nope, keep: { last: 0, foo: 1 } }
guests:
  a:
    mconsole: a b
    disks: { ubd0: 5, ubd16: /x }
    jitter: 5
    require: 'no'
    labels: { a: 1 }
    schedule: 61 * * * *
    capture: postcopy
  b: { mconsole: q, disks: { ubd0: /d, ubd1: { path: /d, backing: /d } }, store: [b, latest, b] }
  c: { mconsole: q, disks: {}, timezone: Mars/X, constructor: 1 }
  d:
`,
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
      '10:23 guests.a.disks.ubd16: must be a device from ubd0 to ubd15',
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
    ],
    [
      'of agents: two guests notify at one socket, and one may not freeze that must',
      `${stores}defaults: { require: frozen }
${guests({ a: ', agent: off', b: ', agent: off, require: synced, notify: /run/n', c: ', notify: /run//n' })}`,
      '4:3 guests.a: requires frozen, and has its agent off: one of them has to go',
      '6:50 guests.c.notify: is the socket of the guest "b" as well',
    ],
    [
      'of those who are told, and what is run',
      `alerts:
  - { command: [tell] }
  - { mail: "root, -oQ/tmp" }
  - { webhook: ftp://a, mail: root }
  - { ping: https://a/b, on: [failure] }
  - { command: [/bin/tell], on: [disaster] }
  - { webhook: "https://me:secret@a/b" }
defaults:
  hooks: { before: /bin/x, after: [], timeout: 1, between: [/bin/x] }
`,
      '2:16 alerts.0.command: must begin with the absolute path of a program',
      '3:13 alerts.1.mail: must be a mail address',
      '4:16 alerts.2.webhook: must be an address that begins with https:// or http://',
      '5:5 alerts.3: a ping tells of every backup: `on` has no meaning for it',
      '6:34 alerts.4.on.0: must be one of failure, recovery, overdue, stopped, storeLag, halted, warning, level',
      '7:16 alerts.5.webhook: must have no user and no password in it',
      '9:20 defaults.hooks.before: must be a list: the absolute path of a program, and its arguments',
      '9:35 defaults.hooks.after: must begin with the absolute path of a program',
      '9:48 defaults.hooks.timeout: must be a duration between 1s and 1d, such as 30s or 10m',
      '9:51 defaults.hooks.between: is no key that umlsnap knows here',
    ],
    [
      'of those who may ask, and of verification',
      `control: { group: "a:b" }
verify:
  schedule: "99 * * * *"
  within: 5
  rate: 50
  scratch: tmp
  user: "a:b"
  fast: true
${guest(', requests: [reboot]')}`,
      '1:19 control.group: must be the name of a group',
      '3:13 verify.schedule: is no cron expression: minute can\'t be "99"',
      '4:11 verify.within: must be a duration with its unit, such as 250ms, 5s, 10m, 1h, 1d, 2w',
      '5:9 verify.rate: must be text (put it in quotes)',
      '6:12 verify.scratch: must be an absolute path',
      '7:9 verify.user: must be the name of a user',
      '8:3 verify.fast: is no key that umlsnap knows here',
      '10:65 guests.a.requests.0: must be one of snapshot, verify, prune, status, drill, cancel',
    ],
    [
      'of the dashboard',
      'dashboard:\n  listen: localhost:80\n  hosts: ["a:1"]\n  tokenFile: here\n  colour: red\n',
      `2:11 dashboard.listen: ${noAddress}`,
      '3:11 dashboard.hosts.0: must be a name of this host, without a port',
      '4:14 dashboard.tokenFile: must be an absolute path',
      '5:3 dashboard.colour: is no key that umlsnap knows here',
    ],
    [
      'behind an alias, where that stands',
      `${stores}${guests({ a: ', keep: &k { last: 0 }', b: ', keep: *k' })}`,
      '3:59 guests.a.keep.last: must be 1 or more: leave the key out to keep none by this rule',
      '4:48 guests.b.keep.last: must be 1 or more: leave the key out to keep none by this rule',
    ],
  ])('%s', async (_, content, ...problems) => {
    expect(await problemsOf(content)).toEqual(problems);
  });
});

describe('is refused, with a problem that says why:', () => {
  const changed = (from: string | RegExp, to: string) => guest('').replace(from, to);
  const twoGuests = changed(/ }\n$/, ', b: { mconsole: b, disks: { ubd3: //a.img } } }');
  const named = (name: string) => changed('{ a:', `{ ${name}:`);
  const mconsole = (to: string) => changed('mconsole: a', `mconsole: ${to}`);
  const restic = (more: string) =>
    `stores: { r: { type: restic, repository: "rest:http://127.0.0.1/r"${more} } }\n`;
  const here = restic(', passwordFile: /p').replace('rest:http://127.0.0.1/r', 'backups/r');
  const directory = (path: string) => `{ type: directory, path: ${path} }`;
  const secondStore = changed('{ local:', `{ o: ${directory('/o')}, local:`);
  const stagedAs = (staging: string, a: string) =>
    `stores: { a: ${a}, b: { type: tar, path: /b, staging: ${staging}/ } }\n`;
  const sharedStaging = stagedAs('/s', '{ type: tar, path: /a, staging: /s }');
  const among = 'must be one of directory, tar, restic';
  const commandList = 'must be a list of the program and its arguments';
  const names = 'must be the name of a store, or a list of names';
  const noKey = 'is no key that umlsnap knows';

  test.each<[string, string, ...string[]]>([
    ['a guest without mconsole and disks', `${stores}guests: { a: {} }`, 'must be text', 'must be a map'],
    ['a list in place of the config', '- a\n', 'must be a map'],
    ['a disk that two guests write', twoGuests, 'is the disk ubd0 of the guest "a" as well'],
    ['a relative disk', changed('/a.img', 'a.img'), 'must be an absolute path'],
    ['a disk name that UML would split', changed('/a.img', '"/a,b.img"'), 'must not contain , or :'],
    ['a path with a newline', changed('/a.img', '"/a\\nb"'), 'control characters'],
    ['a device with a leading zero', changed('ubd0', 'ubd01'), 'from ubd0 to ubd15'],
    ['a guest with a dot in its name', named('a.b'), 'must be a name'],
    ['a guest that leaves its directory', named('"../a"'), 'must be a name'],
    ['a guest named __proto__', named('__proto__'), 'must be a name'],
    ['a name of 64 characters', named('a'.repeat(64)), 'must be a name'],
    ['a umid with a slash', mconsole('a/b'), 'must be a umid'],
    ['a socket path of 108 bytes', mconsole(`/${'a'.repeat(107)}`), '107 bytes'],
    ['a guest without a store where there are none', changed(stores, ''), 'needs a store'],
    ['one where there are two', secondStore, 'needs a store, as there are 2'],
    ['a schedule that never comes up', guest(', schedule: "0 0 30W 2 *"'), 'never comes up'],
    ['a schedule of seven fields', guest(', schedule: "* * * * * * *"'), 'expected 5 or 6 fields'],
    ['a budget of nothing', guest(', pauseBudget: 0s'), 'must lie between 1ms and 1d'],
    ['a quoted boolean', guest(', catchUp: "yes"'), 'true or false'],
    ['a fraction of a try', guest(', syncTries: 1.5'), 'a whole number'],
    ['no try at all', guest(', syncTries: 0'), 'must be 1 or more'],
    ['a concurrency of 65', `concurrency: 65\n${stores}`, 'must be 64 or less'],
    ['an unknown tracker', guest(', precopyTracker: guessed'), 'must be one of auto, traced, compared'],
    ['a rate without a unit', guest(', precopyRate: 50'), 'must be text'],
    ['a rate that is a size', guest(', precopyRate: 50MiB'), 'must be a rate with its unit'],
    ['a rate at which nothing moves', guest(', precopyRate: 1kB/s'), 'must be 64KiB/s or more'],
    ['a pause to aim at of nothing', guest(', pauseTarget: 0'), 'must lie between 1ms and 1m'],
    ['an unknown kind of store', stores.replace('directory', 'tape'), among],
    ['a store without a type', 'stores: { a: { path: /a } }\n', among],
    ['a store that is no map', 'stores: { a: /a }\n', 'must be a map'],
    ['a directory that is compressed', stores.replace(' }', ', compression: zstd }'), `${noKey} here`],
    ['a restic store without a password', restic(''), 'needs a passwordFile or a passwordCommand'],
    ['one with two', restic(', passwordFile: /p, passwordCommand: [pass]'), 'stands beside passwordFile'],
    ['a password command for a shell', restic(', passwordCommand: "pass show x"'), commandList],
    ['a password command of nothing', restic(', passwordCommand: []'), commandList],
    ['a password in the config', restic(', password: x'), 'needs a passwordFile', 'is no key'],
    ['a repository that depends on where we are', here, 'must be an absolute path, or have a scheme'],
    ['two stores with one staging directory', sharedStaging, 'is the staging of the store "a" as well'],
    ['a staging that is a store', stagedAs('/a', directory('/a')), 'is the path of the store "a" as well'],
    ['a store that is a number', guest(', store: 5'), names],
    ['a list of no store', guest(', store: []'), names],
    ['a bad label', guest(', labels: { "a=b": c }'), 'must be a label'],
    ['a socket of a user by his number', guest(', notifyOwner: 1000'), 'guests.a.notifyOwner'],
    ['of a user by a path', guest(', notifyOwner: ../alice'), 'guests.a.notifyOwner'],
    ['of two users', guest(', notifyOwner: "alice:0"'), 'guests.a.notifyOwner'],
    ['of a user with a blank', guest(', notifyOwner: "a b"'), 'guests.a.notifyOwner'],
    ['a merge key, which YAML 1.2 has not', guest(', <<: { catchUp: false }'), noKey],
    ['the same key twice', 'state: /a\nstate: /b\n', 'unique'],
    ['tabs as indentation', 'stores:\n\tlocal: 1\n', 'Tabs'],
    ['brackets that nobody closes', 'stores: { local: {\n', '}', '}'],
    ['two documents', 'state: /a\n---\nstate: /b\n', 'second YAML document'],
    ['a tag that means nothing here', 'state: !path /a\n', 'tag'],
    ['an empty file', '', 'empty'],
    ['a file of comments', '# nothing\n', 'empty'],
  ])('%s', async (_hazard, content, ...expected) => {
    const problems = await problemsOf(content);
    expect(problems).toHaveLength(expected.length);
    for (const [index, part] of expected.entries()) expect(problems[index]).toContain(part);
  });

  test('a file over 1 MiB, without reading all of it, bytes that are no text, and a directory', async () => {
    const tooLarge = '0:0 : the file is larger than 1 MiB, which no config is';
    expect(await problemsOf(Buffer.alloc(1024 * 1024 + 1, '#'))).toEqual([tooLarge]);
    expect(await problemsOf(Buffer.from('a: \xff\xfe', 'latin1'))).toEqual([
      '0:0 : the file is not UTF-8 text',
    ]);
    for (const path of ['/dev/zero', await temporaryDirectory()])
      await expect(loadConfig(path)).rejects.toMatchObject({ code: 'ConfigInvalid' });
  });

  test('aliases that grow into billions of values, and a document that is nested a hundred thousand times', async () => {
    const levels = [...'bcdefghij'].map(
      (name, index) => `${name}: &${name} [${`*${'abcdefghij'[index]},`.repeat(9)}]`,
    );
    const grown = await problemsOf(`a: &a [x, x]\n${levels.join('\n')}\n`);
    expect(grown).toEqual([expect.stringContaining('alias')]);
    expect(await problemsOf('['.repeat(100_000))).not.toEqual([]);
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
  await expect(loadConfig(file)).rejects.toMatchObject({ code: 'ConfigNotFound', facts: { tried: [file] } });
});

test('the command line wins over the environment, and that over the home directory; a misspelt name does not end in another config', async () => {
  const home = await temporaryDirectory();
  const own = join(home, '.config/umlsnap/config.yaml');
  const other = join(home, 'other.yaml');
  await mkdir(join(home, '.config/umlsnap'), { recursive: true });
  for (const file of [own, other]) await writeFile(file, '');
  const find = (explicit: string | undefined, env: NodeJS.ProcessEnv = {}) =>
    findConfigFile(explicit, { HOME: home, ...env });
  expect(await find(other, { UMLSNAP_CONFIG: own })).toBe(other);
  expect(await find(undefined, { UMLSNAP_CONFIG: other })).toBe(other);
  expect(await find(undefined)).toBe(own);
  expect(await find(undefined, { UMLSNAP_CONFIG: '' })).toBe(own);

  const missing = join(home, 'missing.yaml');
  const expected = { code: 'ConfigNotFound', facts: { tried: [missing] } };
  await expect(find(missing)).rejects.toMatchObject(expected);
  await expect(find(undefined, { UMLSNAP_CONFIG: missing })).rejects.toMatchObject(expected);
});

test.runIf(process.getuid?.() === 0)(
  "root with another user's home has not that user's config, whose programs would run as root",
  async () => {
    const home = await temporaryDirectory();
    const file = join(home, '.config/umlsnap/config.yaml');
    await mkdir(join(home, '.config/umlsnap'), { recursive: true });
    await writeFile(file, '');
    expect(await findConfigFile(undefined, { HOME: home })).toBe(file);
    await chown(home, 65534, 65534);
    const found = findConfigFile(undefined, { HOME: home });
    expect(await found.catch(({ facts }) => facts.tried)).not.toContain(file);
  },
);
