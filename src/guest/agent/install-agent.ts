import { constants } from 'node:fs';
import { access, lstat, mkdir, open, readFile, readlink, realpath, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, problemOf, UmlsnapError } from '../../errors.js';
import { PathRefused } from '../../path/held-directory.js';
import { requireOwnPlace } from '../../path/own-place.js';
import { isTrusted, othersMayWrite } from '../../path/trust.js';
import { agentPath, type InitSetup, initSetups, readAgentScript } from './agent-script.js';

export interface InstalledAgent {
  /** Paths as the guest has them; those that were there already, just so, are not told. */
  written: string[];
  /** What is left for the guest's root to do; of every init that the tree may boot by. */
  enable: InitSetup[];
}

/**
 * Puts the agent into an unpacked root, with the service files of the inits that it has. Nothing is enabled: that is for the
 * guest to do, or for its owner. Doing it again changes nothing.
 * @throws InstallRefused
 */
export async function installAgent(givenRoot: string): Promise<InstalledAgent> {
  const root = await realpath(givenRoot).catch(() => givenRoot);
  if (!(await isDirectory(root))) throw refused(root, root, 'it is no directory');
  await requireOwnPlace(root).catch((error: unknown) => {
    throw error instanceof PathRefused ? refused(root, root, problemOf(error)) : error;
  });
  if (!(await isDirectory(join(root, 'etc')))) throw refused(root, root, 'it has no /etc: is it a root?');
  const present: InitSetup[] = [];
  for (const setup of initSetups) if (await hasInit(root, setup)) present.push(setup);
  const files = [
    { path: agentPath, mode: 0o755, text: await readAgentScript() },
    ...present.flatMap(({ file }) => (file ? [file] : [])),
  ];
  const written: string[] = [];
  for (const file of files) if (await putFile(root, file)) written.push(file.path);
  for (const hooks of ['/etc/umlsnap/freeze.d', '/etc/umlsnap/thaw.d', '/etc/umlsnap/drill.d']) {
    await makeDirectories(root, hooks);
  }
  return { written, enable: present.length > 0 ? present : [...initSetups] };
}

/** By what each of them brings; an inittab says by its fields which of the two reads it. */
async function hasInit(root: string, { init }: InitSetup): Promise<boolean> {
  switch (init) {
    case 'systemd':
      return (
        (await exists(join(root, 'usr/lib/systemd/systemd'))) ||
        (await exists(join(root, 'lib/systemd/systemd')))
      );
    case 'openrc':
      return (
        (await exists(join(root, 'sbin/openrc-run'))) || (await exists(join(root, 'usr/sbin/openrc-run')))
      );
    case 'sysv':
      return /^[^#:\n]+:[0-9]+:/m.test(await inittabOf(root));
    case 'busybox':
      return /^[^#:\n]*::(?:sysinit|respawn|askfirst|wait|once):/m.test(await inittabOf(root));
  }
}

async function inittabOf(root: string): Promise<string> {
  const path = join(root, 'etc/inittab');
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      return (await file.stat()).isFile() ? await file.readFile('utf8') : '';
    } finally {
      await file.close();
    }
  } catch (error) {
    if (['ENOENT', 'ELOOP'].includes(errnoOf(error) ?? '')) return '';
    throw refused(root, path, problemOf(error));
  }
}

/** @returns false when it was there just so */
async function putFile(root: string, file: { path: string; mode: number; text: string }): Promise<boolean> {
  const directory = await makeDirectories(root, dirname(file.path));
  const path = join(directory, file.path.slice(file.path.lastIndexOf('/') + 1));
  if (await isJustSo(path, file)) return false;
  const temporary = `${path}.umlsnap-new`;
  try {
    await rm(temporary, { force: true });
    const handle = await open(temporary, 'wx', file.mode);
    try {
      await handle.writeFile(file.text);
      await handle.chmod(file.mode);
    } finally {
      await handle.close();
    }
    // In place of whatever has the name: a symbolic link is replaced, and never written through.
    await rename(temporary, path);
    return true;
  } catch (error) {
    await rm(temporary, { force: true });
    throw refused(root, path, problemOf(error));
  }
}

async function isJustSo(path: string, { mode, text }: { mode: number; text: string }): Promise<boolean> {
  try {
    const found = await lstat(path);
    return found.isFile() && (found.mode & 0o7777) === mode && (await readFile(path, 'utf8')) === text;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/**
 * Makes a directory of the root and those above it, as far as they are missing.
 * @returns its path on the host: a link such as /lib to usr/lib is followed within the root, any other is refused
 */
async function makeDirectories(root: string, path: string): Promise<string> {
  let reached = root;
  for (const name of path.split('/').filter(Boolean)) {
    const next = join(reached, name);
    await requireNobodyElses(root, reached);
    const found = await lstat(next).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (found === undefined) await mkdir(next, 0o755);
    if (found?.isSymbolicLink()) reached = await followOnce(root, reached, next);
    else if (found !== undefined && !found.isDirectory()) throw refused(root, next, 'it is no directory');
    else reached = next;
  }
  await requireNobodyElses(root, reached);
  return reached;
}

/** Another user of this host, the guest's root among them, would lead our hand by what he puts there meanwhile. */
async function requireNobodyElses(root: string, directory: string): Promise<void> {
  const found = await lstat(directory, { bigint: true });
  if (isTrusted(found.uid) && !othersMayWrite(found)) return;
  throw refused(
    root,
    directory,
    `it belongs to user ${found.uid}, or others may write to it: run this as that user`,
  );
}

/** Merged roots have links such as /sbin to usr/sbin: one plain step down, and never up or out. */
async function followOnce(root: string, from: string, link: string): Promise<string> {
  const target = await readlink(link);
  const names = target.replace(/^\//, '').split('/');
  const base = target.startsWith('/') ? root : from;
  let reached = base;
  for (const name of names) {
    reached = join(reached, name);
    const isPlain = name !== '' && name !== '.' && name !== '..';
    if (!isPlain || !(await lstat(reached).catch(() => undefined))?.isDirectory())
      throw refused(root, link, `it is a symbolic link to ${target}`);
    await requireNobodyElses(root, reached);
  }
  return reached;
}

async function isDirectory(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined))?.isDirectory() ?? false;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function refused(root: string, path: string, problem: string): UmlsnapError {
  return new UmlsnapError('InstallRefused', { root, path, problem });
}
