import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Owner } from '../../src/store/manifest.js';
import { canTrace } from '../capture/traced.js';
import { ours, theirs } from '../store/capture-of-tests.js';
import { runTool } from '../support/run-tool.js';
import { builtScript } from '../support/script-child.js';
import { withTempDir } from '../support/temp-dir.js';

/**
 * What outlasts a power cut is decided by the order of a few system calls, and a cut that comes just where one of them is missing is
 * rare. So each step is taken once, in a process of its own, and the kernel's word of what it did is held against the rule
 * that the code names.
 */

const why = (await canTrace()) ? undefined : 'strace is missing or may not trace';
if (why !== undefined) console.warn(`SKIPPED: the order of the calls that make things durable: ${why}`);

const taken = '20261121T031500Z';
const incoming = 'store/debian/.incoming-job-1';
const healing = 'healed/debian/.incoming-job-1';

/** Of each step, by its name in `lasting-steps-child`, the rule and then the calls. */
const rules: Record<string, string> = {
  lease: `a lease is durable, its text, its name and its directory, before anybody is stopped
    mkdir state
    mkdir state/leases
    fsync state
    fsync .
    fsync state/leases/debian.json.new
    rename state/leases/debian.json.new state/leases/debian.json
    fsync state/leases`,
  'lease-end': `the note that a pause is over waits for no disk, and never takes the place of the lease
    rename state/leases/debian.json.ended.new state/leases/debian.json.ended`,
  'lease-drop': `a lease goes before the note of its end: without it, whoever comes between sends a go
    unlink state/leases/debian.json
    unlink state/leases/debian.json.ended`,
  prepare: `a store is marked as one before it is used, and never over another's mark
    mkdir store
    fsync .
    fsync store/.umlsnap-store.*
    link store/.umlsnap-store.* store/.umlsnap-store
    unlink store/.umlsnap-store.*
    fsync store`,
  begin: `a guest has its part of the store, durably, before anything is written there
    mkdir store/debian
    fsync store
    mkdir store/.locks
    mkdir ${incoming}`,
  backing: `a backing file is durable, its times too, before a manifest speaks of it
    mkdir store/.backing
    fsync store
    utimensat ${incoming}/backing-ubd1
    fsync ${incoming}/backing-ubd1
    rename ${incoming}/backing-ubd1 store/.backing/SHA256.img
    fsync store/.backing`,
  seal: `disks, manifest and their names are durable before a snapshot has its own, and that before it is told of
    fsync ${incoming}/ubd0.img
    fsync ${incoming}/ubd1.cow
    fsync ${incoming}/manifest.json
    fsync ${incoming}
    rename ${incoming} store/debian/${taken}
    fsync store/debian`,
  pin: `a pin is wholly the old manifest or wholly the new one
    fsync store/debian/${taken}/manifest.json.*
    rename store/debian/${taken}/manifest.json.* store/debian/${taken}/manifest.json
    fsync store/debian/${taken}`,
  adopt: `an owner is wholly the old manifest's or wholly the new one's
    fsync store/debian/${taken}/manifest.json.*
    rename store/debian/${taken}/manifest.json.* store/debian/${taken}/manifest.json
    fsync store/debian/${taken}`,
  'state-id': `the id of a state is durable before anything is its own
    mkdir own
    fsync .
    fsync own/state-id.json.*
    link own/state-id.json.* own/state-id.json
    unlink own/state-id.json.*
    fsync own`,
  archive: `an archive is durable before it has its name, and that before it is told of
    mkdir archives/debian
    fsync archives
    fsync archives/debian/.incoming-*
    fsync archives/debian/.incoming-*
    rename archives/debian/.incoming-* archives/debian/${taken}.tar
    fsync archives/debian`,
  heal: `a healed copy is whole and durable before it takes the place of the damaged one, and that before the damaged one is in the trash
    fsync healed
    mkdir ${healing}
    fsync healed
    fsync ${healing}/ubd0.img
    fsync ${healing}/ubd1.cow
    fsync ${healing}/manifest.json
    fsync ${healing}
    rename ${healing} healed/debian/${taken}
    fsync healed/debian
    mkdir healed/.trash
    fsync healed
    rename ${healing} healed/.trash/debian@${taken}.*
    fsync healed/.trash
    fsync healed/debian`,
  'archive-heal': `a healed archive is durable before it takes the place of the damaged one, and that before the damaged one is in the trash
    fsync archives/debian/.incoming-*
    fsync archives/debian/.incoming-*
    rename archives/debian/.incoming-* archives/debian/${taken}.tar
    fsync archives/debian
    mkdir archives/.trash
    fsync archives
    rename archives/debian/.incoming-* archives/.trash/debian@${taken}.*
    fsync archives/.trash
    fsync archives/debian
    unlink archives/.trash/debian@${taken}.*`,
  'archive-pin': `the mark of a pinned archive is durable
    fsync archives/debian`,
  'archive-adopt': `the mark of an adopted archive is durable
    fsync archives/debian`,
  'archive-adopt-again': `at every instant an adopted archive has one owner, the old one or the new one
    rename archives/debian/${taken}.owner=${markOf(theirs)} archives/debian/${taken}.owner=${markOf(ours)}
    fsync archives/debian`,
  'archive-trash': `an archive is in the trash, durably, before its pin goes
    fsync archives
    rename archives/debian/${taken}.tar archives/.trash/debian@${taken}.*
    fsync archives/.trash
    fsync archives/debian
    unlink archives/debian/${taken}.pinned
    unlink archives/debian/${taken}.owner=${markOf(ours)}`,
  trash: `a removed snapshot is durably in the trash and out of the list, before the history says that it is gone
    mkdir store/.trash
    fsync store
    rename store/debian/${taken} store/.trash/debian@${taken}.*
    fsync store/.trash
    fsync store/debian`,
  restore: `a restore in place names the old disk durably before the new one takes its name, and removes it only when that is durable
    ${made('disks/base.img', 'fchmod', 'utimensat', 'fsync')}
    ${made('disks/root.img', 'fchown', 'fchmod', 'fsync')}
    ${made('disks/data.cow', 'fchown', 'fchmod', 'fsync')}
    ${made('disks/lost.img', 'fchmod', 'fsync')}
    ${named('disks/base.img')}
    fsync disks
    link disks/root.img disks/root.img.before-restore-${taken}
    fsync disks
    ${named('disks/root.img')}
    fsync disks
    link disks/data.cow disks/data.cow.before-restore-${taken}
    fsync disks
    ${named('disks/data.cow')}
    fsync disks
    ${named('disks/lost.img')}
    fsync disks
    unlink disks/root.img.before-restore-${taken}
    fsync disks
    unlink disks/data.cow.before-restore-${taken}
    fsync disks`,
  'restore-merged': `a merged image has all of the COW file, and its look, before it is durable, and that before its name
    unlink images/ubd1.img.umlsnap-restore-*
    ${made('images/ubd1.img', 'fchmod', 'fsync')}
    ${named('images/ubd1.img')}
    fsync images`,
  'restore-new': `a restore to a new directory is all there, durably, when it is told of
    mkdir new
    fsync .
    mkdir new/er
    fsync new
    ${made('new/er/ubd0.img', 'fchmod', 'fsync')}
    ${made('new/er/ubd1.cow', 'fchmod', 'fsync')}
    ${made('new/er/base.img', 'fchmod', 'utimensat', 'fsync')}
    ${made('new/er/ubd2.img', 'fchmod', 'fsync')}
    ${['ubd0.img', 'ubd1.cow', 'base.img', 'ubd2.img'].map((file) => named(`new/er/${file}`)).join('\n')}
    fsync new/er`,
};

/** As a path is shown. */
function markOf({ id, host }: Owner): string {
  return shortened(`${id}@${host}`, '/');
}

function made(file: string, ...calls: string[]): string {
  return calls.map((call) => `${call} ${file}.umlsnap-restore-*`).join('\n');
}

function named(file: string): string {
  return `rename ${file}.umlsnap-restore-* ${file}`;
}

describe.skipIf(why !== undefined)('in the order of its calls', () => {
  const steps = new Map<string, string[]>();
  beforeAll(async () => {
    const script = new URL('./lasting-steps-child.ts', import.meta.url);
    const calls = await withTempDir((dir) => lastingCallsOf(script, [dir], dir));
    let current = '';
    for (const call of calls) {
      const begun = /^mkdir step\/(.*)$/.exec(call)?.[1];
      if (begun === undefined) steps.get(current)?.push(call);
      else steps.set(begun, []);
      current = begun ?? current;
    }
    expect([...steps.keys()].at(-1)).toBe('end');
  });

  for (const [step, text] of Object.entries(rules)) {
    const [rule = '', ...calls] = text.split(/\n\s*/);
    test(rule, () => expect(steps.get(step)).toEqual(calls));
  }

  test('the files of a removed snapshot are deleted in the trash, and nowhere else', () => {
    const deleted = steps.get('trash-empty')?.toSorted() ?? [];
    const trashed = `unlink store/.trash/debian@${taken}.*`;
    expect(deleted).toEqual(['manifest.json', 'ubd0.img', 'ubd1.cow'].map((file) => `${trashed}/${file}`));
  });
});

/** What makes a change to names, to what stands beside a file's content, or either of them durable. */
const lastingCalls =
  'openat,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,fchmod,fchown,utimensat';

/**
 * Runs a script of the tests to its end under strace, all of its threads, and gives those of its calls that succeeded, in the
 * order in which they ended: `fsync FILE`, `rename FROM TO`. Paths are relative to `dir`, and what is random in a
 * name is `*`; `fchmod` and the like stand for the first of several in a row on the same file. A name in a directory that is held by a
 * descriptor (`/proc/PID/fd/N/NAME`, or `self`) is told by the path that the descriptor was opened by.
 */
async function lastingCallsOf(script: URL, args: string[], dir: string): Promise<string[]> {
  const output = join(dir, 'strace.out');
  const strace = ['-f', '--seccomp-bpf', '-y', '-qq', '-o', output, '-e', `trace=${lastingCalls}`];
  await runTool('strace', [...strace, process.execPath, builtScript(script), ...args]);
  return callsIn(await readFile(output, 'utf8'), dir);
}

function callsIn(trace: string, dir: string): string[] {
  const begun = new Map<string, string>();
  const opened = new Map<string, string>();
  const calls: string[] = [];
  for (const line of trace.split('\n')) {
    const [, thread = '', text = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
    // A call during which another thread was seen is told in two parts.
    const beginning = /^(.*) <unfinished \.\.\.>$/.exec(text)?.[1];
    if (beginning !== undefined) begun.set(thread, beginning);
    const whole = text.replace(/^<\.\.\. \w+ resumed>/, () => begun.get(thread) ?? '');
    const [, descriptor = '', openedAs = ''] = /^openat\(.*\) += (\d+)<(.*)>$/.exec(whole) ?? [];
    if (openedAs !== '') opened.set(descriptor, openedAs);
    const [, name, given] = /^(\w+)\((.*)\) += 0$/.exec(whole) ?? [];
    if (name === undefined || given === undefined) continue;
    const isByDescriptor = /^(fsync|fdatasync|fchmod|fchown)$/.test(name) || given.includes(', NULL,');
    // Between two quoted paths stands a comma, in quotes of the one before and of the one after.
    const quoted = () => given.match(/(?<=")[^"]*(?=")/g)?.filter((path) => path.startsWith('/'));
    const paths = (isByDescriptor ? /<([^>]*)>/.exec(given)?.slice(1) : quoted()) ?? [];
    const call = [
      name.replace(/^(rename|link|unlink)at2?$/, '$1'),
      ...paths
        .map((path) =>
          path.replace(/^\/proc\/(?:self|\d+)\/fd\/(\d+)/, (_, held: string) => opened.get(held) ?? '?'),
        )
        .map((path) => shortened(path, dir)),
    ];
    if (calls.at(-1) !== call.join(' ') || isByDescriptor) calls.push(call.join(' '));
  }
  return calls;
}

function shortened(path: string, dir: string): string {
  const relative = path === dir ? '.' : path.replace(`${dir}/`, '');
  return relative.replace(/[0-9a-f]{64}/g, 'SHA256').replace(/\b[0-9a-f]{8,16}\b(?!T)/g, '*');
}
