/**
 * What a process of ours, or a program that we run, has in its environment: a short list of what we have ourselves, and what it
 * is given by name. So nothing that only happened to be set where we were started (NODE_OPTIONS, LD_PRELOAD, BASH_ENV) loads
 * itself into the guardian of a paused guest, and a program finds by night, from cron or systemd, what it found by hand.
 */

/** Who and where one is, how one speaks, and where one may put files. */
const passedOn = /^(?:HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|XDG_\w+)$/;

/** What leads to other places, and opens them: for restic, and for programs that the config names. */
const passedToThoseOutside = new RegExp(
  [
    '^(?:SSH_AUTH_SOCK|GNUPGHOME|PASSWORD_STORE_DIR|DBUS_SESSION_BUS_ADDRESS|SSL_CERT_FILE|SSL_CERT_DIR)$',
    '^(?:https?|all|no)_proxy$|^(?:HTTPS?|ALL|NO)_PROXY$',
    '^(?:AWS|AZURE|B2|GOOGLE|OS|RCLONE|ST)_\\w+$',
  ].join('|'),
);

const leastPlaces = ['/usr/bin', '/bin'];
const furtherPlaces = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/sbin'];

/**
 * The whole environment of a child.
 * @param given what it has beside, or instead of what is passed on
 * @param toOutside whether it also gets what leads to other places
 */
export function childEnvironment(given: Record<string, string> = {}, toOutside = false): NodeJS.ProcessEnv {
  const isPassedOn = (name: string) => passedOn.test(name) || (toOutside && passedToThoseOutside.test(name));
  const ours = Object.entries(process.env).filter(([name]) => isPassedOn(name));
  return { ...Object.fromEntries(ours), PATH: searchPath(), ...given };
}

/**
 * Where programs are looked for: on our PATH, and then where a system has those that are for administrators, or its own: cron's
 * PATH lacks the place of e2fsck. Never in the directory that we happen to be in.
 */
export function searchPath(path = process.env.PATH ?? ''): string {
  const asked = path.split(':').filter((directory) => directory.startsWith('/'));
  return [...new Set([...(asked.length > 0 ? asked : leastPlaces), ...furtherPlaces])].join(':');
}
