import { type Finding, type Level, worstLevel } from '../doctor/finding.js';
import { countText } from '../error-text.js';
import { emit, type Output, oneLine, tell, warn } from '../output.js';

const levels: Level[] = ['critical', 'warning', 'unknown', 'ok'];
const titles: Record<Level, string> = {
  ok: 'ok',
  warning: 'WARNING',
  critical: 'CRITICAL',
  unknown: 'UNKNOWN',
};

/** For programs one object a finding, and a summary; for people a list by host, store and guest, with what to do. */
export function printFindings(output: Output, findings: readonly Finding[]): void {
  for (const finding of findings) emit(output, { type: 'finding', ...finding });
  const counts = Object.fromEntries(
    levels.map((level) => [level, findings.filter((finding) => finding.level === level).length]),
  );
  const level = worstLevel(findings.map((finding) => finding.level));
  emit(output, { type: 'summary', kind: 'doctor', level, ...counts });
  if (output.json) return;
  if (output.quiet) {
    for (const { about, check, what } of findings.filter((finding) => finding.level !== 'ok'))
      warn(`${about ?? 'host'}: ${check}: ${what}`);
    return;
  }
  for (const [about, ofAbout] of groupsOf(findings)) {
    tell(output, `${about}`);
    for (const finding of ofAbout) tell(output, linesOf(finding));
  }
  const parts = levels.filter((one) => counts[one] !== 0).map((one) => `${counts[one]} ${one}`);
  tell(output, `\n${countText(findings.length, 'check')}: ${parts.join(', ')}.`);
}

const storeChecks = ['store', 'room', 'owners'];

function groupsOf(findings: readonly Finding[]): Map<string, Finding[]> {
  const groups = new Map<string, Finding[]>();
  for (const finding of findings) {
    const { about, check } = finding;
    const title = about === null ? 'Host' : `${storeChecks.includes(check) ? 'Store' : 'Guest'} ${about}`;
    groups.set(title, [...(groups.get(title) ?? []), finding]);
  }
  return groups;
}

/** What it means and how to mend it stand below, where there is something to mend. Some of it is in a guest's own words. */
function linesOf({ level, check, what, means, mend }: Finding): string {
  const row = (left: string, middle: string, text: string) =>
    `  ${left.padEnd(9)} ${middle.padEnd(10)} ${oneLine(text)}`;
  const rows = [row(titles[level], check, what)];
  if (means !== null) rows.push(row('', '  means', means), row('', '  mend', mend));
  return rows.join('\n');
}
