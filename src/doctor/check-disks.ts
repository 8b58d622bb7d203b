import type { GuestConfig } from '../config/config.js';
import { explainError } from '../error-text.js';
import { isError } from '../errors.js';
import type { Guest } from '../guest/guest.js';
import { checkDiskClaim } from '../guest/guest-disks.js';
import { findGuestProcesses } from '../guest/guest-processes.js';
import { requireOneUser } from '../guest/guest-user.js';
import { type Finding, fine, trouble } from './finding.js';
import type { OpenDisks } from './open-disks.js';

/** Whether the disks of the config are those that the guest has open and says it has. */
export async function checkDisks(config: GuestConfig, guest: Guest, disks: OpenDisks): Promise<Finding> {
  const about = { check: 'disks', about: config.name } as const;
  const facts = { disks: config.disks.map(({ device, path }) => `${device}=${path}`) };
  const processes = await findGuestProcesses(
    await Promise.all(disks.map(({ image }) => image.handle.stat())),
  );
  if (!processes || processes.ioTasks.length === 0) {
    return trouble(about, {
      level: 'critical',
      what: `No process that we may look at has ${facts.disks.join(' ')} open for writing.`,
      means:
        'The config names other files than those the guest writes, or we may not look at its process: it is not backed up.',
      mend: '`umlsnap discover` shows which disks it has; run umlsnap as root or as the user that runs the guest.',
      facts,
    });
  }
  try {
    requireOneUser(
      guest,
      disks.map(({ image }) => image),
      processes.main.pid,
    );
    for (const { config: disk, image, backing } of disks) {
      const claim = { guest: config.name, disk, reported: await guest.diskOf(disk.device) };
      const files = {
        file: await image.handle.stat(),
        ...(backing && { backing: await backing.handle.stat() }),
      };
      await checkDiskClaim(processes.main, { ...claim, ...files });
    }
    return fine(about, `Has the disks of the config open: ${facts.disks.join(' ')}.`, facts);
  } catch (error) {
    if (isError(error, 'GuestOfSeveralUsers')) {
      return trouble(about, {
        level: 'critical',
        what: explainError(error),
        means: 'It is not backed up.',
        mend: `chown what is not the guest's user's, or set guests.${config.name}.user in the config.`,
        facts: { ...facts, ...error.facts },
      });
    }
    if (!isError(error, 'DiskMismatch')) throw error;
    const { device, configured, reported, problem } = error.facts;
    return trouble(about, {
      level: 'critical',
      what: `${device} is not what the config says: config ${configured}, guest ${reported || 'none'}: ${problem}.`,
      means: 'It is not backed up: a snapshot of the wrong file would look as good as any.',
      mend: 'Put the path into the config that `umlsnap discover` shows.',
      facts: { ...facts, ...error.facts },
    });
  }
}
