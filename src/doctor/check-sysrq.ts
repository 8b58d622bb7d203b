import type { GuestConfig } from '../config/config.js';
import { type Finding, fine, trouble } from './finding.js';

export interface SysrqLook {
  /** The guest's kernel.sysrq. */
  setting: string;
  /** What it printed about an emergency sync. */
  syncText: string;
}

/** Bits of kernel.sysrq that allow sync, and thaw (uml-facts §2). */
const syncBit = 16;
const thawBit = 64;

/**
 * Whether a guest syncs when it is told to. That it answers is no proof: with SysRq off it says OK, and has done nothing
 * (uml-facts, fact 8).
 */
export function checkSysrq({ name, agent }: GuestConfig, { setting, syncText }: SysrqLook): Finding {
  const about = { check: 'sysrq', about: name } as const;
  const facts = { setting, syncText: syncText.slice(0, 200) };
  const mask = Number(setting);
  const allows = (bit: number) => mask === 1 || (mask & bit) !== 0;
  if (!allows(syncBit) || !syncText.includes('Emergency Sync')) {
    return trouble(about, {
      level: 'critical',
      what: `Does not sync when it is told to: kernel.sysrq is ${setting}, and it answered ${JSON.stringify(facts.syncText)}.`,
      means: 'It is not backed up: what it holds in memory would be missing, without a word.',
      mend: 'In the guest: sysctl kernel.sysrq=1 (or a sum with 16, and 64 for a thaw), in /etc/sysctl.conf for good.',
      facts,
    });
  }
  if (agent === 'auto' && !allows(thawBit)) {
    return trouble(about, {
      level: 'warning',
      what: `Syncs when it is told to, and can't be thawed from outside: kernel.sysrq is ${setting}.`,
      means: 'Filesystems that its agent does not thaw stay frozen until the timer in the guest ends it.',
      mend: 'In the guest: sysctl kernel.sysrq=1, or a sum with 64. Or `agent: off` in the config.',
      facts,
    });
  }
  return fine(about, `Syncs when it is told to (kernel.sysrq is ${setting}).`, facts);
}
