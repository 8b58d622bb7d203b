import type { GuestConfig } from '../config/config.js';
import { type Finding, fine, trouble } from './finding.js';

/** `stop` leaves the other CPUs of a guest running (uml-facts, fact 10). */
export function checkCpus({ name, allowSmp, require }: GuestConfig, cpus: number): Finding {
  const about = { check: 'cpus', about: name } as const;
  if (cpus === 1) return fine(about, 'Has one CPU.', { cpus });
  const isAccepted = allowSmp && require === 'crash';
  return trouble(about, {
    level: isAccepted ? 'warning' : 'critical',
    what: `Has ${cpus} CPUs.`,
    means: `Its \`stop\` leaves the others running: ${isAccepted ? 'its snapshots may be damaged, as the config accepts.' : 'it is not backed up.'}`,
    mend: 'Boot it with one CPU. Or accept a snapshot that is damaged at worst: allowSmp: true, without `require`.',
    facts: { cpus },
  });
}
