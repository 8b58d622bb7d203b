import { lstatSync, readFileSync, rmSync } from 'node:fs';
import { chmod, chown, stat } from 'node:fs/promises';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { errnoOf, problemOf, UmlsnapError } from '../errors.js';
import { refuseDescriptors } from '../mconsole/refuse-descriptors.js';
import { maxSocketPathBytes } from '../path/socket-directory.js';

/** Where a daemon of this state directory listens. */
export function controlSocketPath(stateDirectory: string): string {
  return join(stateDirectory, 'control.sock');
}

export interface SocketRights {
  socketPath: string;
  /** Let in beside the owner. */
  group: string | null;
}

/**
 * Has the server listen on its socket, which nobody but its owner, and the group if there is one, can ever have connected to.
 * @throws SocketPathTooLong, ControlUnusable
 */
export async function listenOn(server: Server, { socketPath, group }: SocketRights): Promise<void> {
  const lengthBytes = Buffer.byteLength(socketPath);
  if (lengthBytes > maxSocketPathBytes)
    throw new UmlsnapError('SocketPathTooLong', { socketPath, lengthBytes, maxBytes: maxSocketPathBytes });
  try {
    const groupId = group === null ? null : groupIdOf(group, readFileSync('/etc/group', 'utf8'));
    await removeStale(socketPath);
    await bind(server, socketPath);
    if (groupId !== null) await letGroupIn(socketPath, groupId);
  } catch (error) {
    if (error instanceof UmlsnapError) throw error;
    throw new UmlsnapError('ControlUnusable', { socketPath, problem: problemOf(error) }, error);
  }
}

/**
 * Others MUST NOT be able to connect from the first instant on, which takes the right to write. The mask stays: put back, it could meet what another
 * task is about to make, and nothing of ours is for others to write to.
 */
async function bind(server: Server, socketPath: string): Promise<void> {
  process.umask(process.umask() | 0o022);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, () => {
      server.off('error', reject);
      resolve();
    });
  });
  // Node has no other way to the descriptor.
  refuseDescriptors((server as unknown as { _handle: { fd: number } })._handle.fd);
  await chmod(socketPath, 0o600);
}

/** The group MUST be set before it has any rights, which would be the old group's otherwise. */
async function letGroupIn(socketPath: string, groupId: number): Promise<void> {
  await chown(socketPath, -1, groupId);
  await chmod(socketPath, 0o660);
  const directory = dirname(socketPath);
  const { mode, gid } = await stat(directory);
  const isOpenToAll = (mode & 0o001) !== 0;
  const isOpenToAnotherGroup = gid !== groupId && (mode & 0o070) !== 0;
  if (isOpenToAll || isOpenToAnotherGroup) return;
  await chown(directory, -1, groupId);
  // To be passed through, and not to be listed.
  await chmod(directory, (mode & 0o7777) | 0o010);
}

/** The number of a group by /etc/group. @throws Error when it is not there */
export function groupIdOf(group: string, groups: string): number {
  for (const line of groups.split('\n')) {
    const [name, , id] = line.split(':');
    if (name === group && id !== undefined && /^\d+$/.test(id)) return Number(id);
  }
  throw new Error(`there is no group ${group} in /etc/group`);
}

/**
 * What is left of a daemon that was killed is removed; what answers, or is no socket, is somebody's. The daemon's lock is held.
 * @returns whether there was one
 */
export async function removeStale(socketPath: string): Promise<boolean> {
  const found = lstatSync(socketPath, { throwIfNoEntry: false });
  if (!found) return false;
  if (!found.isSocket()) throw new Error('there is something that is no socket');
  if (await isListenedTo(socketPath)) throw new Error('another process listens there');
  rmSync(socketPath, { force: true });
  return true;
}

function isListenedTo(socketPath: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = connect({ path: socketPath });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error) => {
      // EAGAIN: its queue is full, so somebody has one.
      const code = errnoOf(error);
      if (code === 'ECONNREFUSED' || code === 'ENOENT') resolve(false);
      else if (code === 'EAGAIN') resolve(true);
      else reject(error);
    });
  });
}
