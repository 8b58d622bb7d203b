import { statSync } from 'node:fs';
import { PathRefused } from '../path/held-directory.js';
import { requireOwnPlace } from '../path/own-place.js';
import { type Finding, fine, trouble } from './finding.js';
import { nearestDirectory, problemOfWriting } from './nearest-directory.js';

const about = { check: 'state', about: null } as const;

/** The directory of history, leases and sockets: there or possible, ours to write, and nobody else's. */
export async function checkState(path: string): Promise<Finding> {
  const found = statSync(path, { throwIfNoEntry: false });
  const place = found ? path : nearestDirectory(path);
  const problem = problemOfWriting(place);
  if (problem !== null) {
    return trouble(about, {
      level: 'critical',
      what: `The state directory ${path} can't be ${found ? 'written' : 'made'}: ${place}: ${problem}.`,
      means: 'Without it there is no history and no lease, and so no backup.',
      mend: 'Set `state:` in the config to a directory of the user that runs umlsnap, or give that user this one.',
      facts: { path, problem },
    });
  }
  try {
    await requireOwnPlace(path);
  } catch (error) {
    if (!(error instanceof PathRefused)) throw error;
    return trouble(about, {
      level: 'critical',
      what: `The state directory ${path} is not only ours: ${error.message}.`,
      means:
        'A lease that somebody else has put there decides which guest is sent `go`: nothing begins with it.',
      mend: 'Give it, and what is above it, to the user that runs umlsnap or to root, and take from others the right to write there.',
      facts: { path },
    });
  }
  if (!found) return fine(about, `The state directory ${path} will be made by the first command.`, { path });
  const mode = (found.mode & 0o7777).toString(8).padStart(4, '0');
  return fine(about, `State in ${path}, mode ${mode}.`, { path, mode });
}
