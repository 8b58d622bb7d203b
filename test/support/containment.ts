import { spawnSync } from 'node:child_process';

/**
 * What to put before the command so that nothing outlives it: in a pid and a mount namespace of their own, the
 * processes, mounts and loop devices of a killed run are gone with it, and what it left in a /dev/shm and a /run of its own. The `sh` there is
 * the init that buries orphans; without the `exit` after it, it would become the command itself.
 */
export function containment(): string[] {
  const inNamespace = 'unshare --pid --fork --kill-child=SIGKILL --mount --mount-proc sh -c'.split(' ');
  const script =
    'mount -t tmpfs -o mode=1777 tmpfs /dev/shm && mount -t tmpfs -o mode=0755 tmpfs /run || echo "/dev/shm is everybody\'s" >&2; "$@"; exit $?';
  const command = ['setpriv', '--pdeathsig', 'KILL', ...inNamespace, script, 'sh'];
  const probe = spawnSync(command[0] ?? '', [...command.slice(1), 'true'], { stdio: 'ignore' });
  return probe.status === 0 ? command : [];
}
