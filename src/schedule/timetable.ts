/**
 * What stands in the timetable: the backups of each guest by the guest's name, and jobs of the house, which are of no guest in
 * particular. Slots of both are recorded and caught up in the same way.
 */
export type HouseJob = 'verify' | 'drill';

const houseJobs: readonly HouseJob[] = ['verify', 'drill'];
/** No guest's name can begin with it. */
const housePrefix = ':';

/** The name under which a job of the house stands in the timetable. */
export const houseEntry = (job: HouseJob): string => `${housePrefix}${job}`;

/** True for a job of the house, also for one that this umlsnap does not know. */
export const isHouseEntry = (name: string): boolean => name.startsWith(housePrefix);

/** What is to be run for an entry; undefined for a job of the house that nobody knows. */
export function workOfEntry(
  name: string,
): { is: 'backup'; guest: string } | { is: HouseJob; guest: null } | undefined {
  if (!isHouseEntry(name)) return { is: 'backup', guest: name };
  const job = houseJobs.find((known) => houseEntry(known) === name);
  return job && { is: job, guest: null };
}
