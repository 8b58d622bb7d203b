/**
 * What stands in the timetable: the backups of each guest by the guest's name, and global jobs, which are of no guest in
 * particular. Slots of both are recorded and caught up in the same way.
 */
export type GlobalJob = 'verify' | 'drill';

const globalJobs: readonly GlobalJob[] = ['verify', 'drill'];
/** No guest's name can begin with it. */
const globalPrefix = ':';

/** The name under which a global job stands in the timetable. */
export const globalEntry = (job: GlobalJob): string => `${globalPrefix}${job}`;

/** True for a global job, also for one that this umlsnap does not know. */
export const isGlobalEntry = (name: string): boolean => name.startsWith(globalPrefix);

/** What is to be run for an entry; undefined for a global job that nobody knows. */
export function workOfEntry(
  name: string,
): { is: 'backup'; guest: string } | { is: GlobalJob; guest: null } | undefined {
  if (!isGlobalEntry(name)) return { is: 'backup', guest: name };
  const job = globalJobs.find((known) => globalEntry(known) === name);
  return job && { is: job, guest: null };
}
