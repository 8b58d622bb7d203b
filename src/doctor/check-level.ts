import type { GuestConfig } from '../config/config.js';
import { agentCure } from '../error-text.js';
import { expectedLevel, isWeaker } from '../history/levels.js';
import type { Consistency } from '../history/records.js';
import { type Finding, fine, trouble } from './finding.js';

/** How consistent a guest's next backup is likely to be, by the last ones. @param reached their levels, newest first */
export function checkLevel({ name, require }: GuestConfig, reached: readonly Consistency[]): Finding {
  const about = { check: 'level', about: name } as const;
  const expected = expectedLevel(reached);
  if (expected === null) return fine(about, 'No backup has told yet how consistent they are.');
  const { level, text } = expected;
  // Whether it can be `frozen` now is told by the check of its agent: it may be there since.
  if (require === 'frozen' || !isWeaker(level, require)) return fine(about, text, { level });
  return trouble(about, {
    level: 'critical',
    what: text,
    means: `The config requires \`${require}\`: a backup that is weaker fails.`,
    mend: `${agentCure} Or leave \`require\` out: then the best that can be reached is taken.`,
    facts: { level },
  });
}
