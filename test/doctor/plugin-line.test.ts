import { expect, test } from 'vitest';
import { type Finding, fine, trouble, worstLevel } from '../../src/doctor/finding.js';
import { pluginLine, pluginStatus } from '../../src/doctor/plugin-line.js';

const advice = { means: 'means', mend: 'mend' };
const of = (level: 'warning' | 'critical' | 'unknown', what: string): Finding =>
  trouble({ check: 'guest', about: 'debian' }, { level, what, ...advice });

test('the line begins with the worst, whatever came first, and figures stand behind the only bar', () => {
  const room = fine({ check: 'room', about: 'local' }, 'fits', { freeBytes: 9, weekBytes: 5, nextBytes: 2 });
  const line = pluginLine([of('warning', 'first'), room, of('critical', 'a | b\nc')]);
  expect(line).toBe(
    "UMLSNAP CRITICAL - 1 critical, 1 warnings: debian guest: a / b c / debian guest: first | 'ok'=1;;;0 'warning'=1;;;0 'critical'=1;;;0 'unknown'=0;;;0 'free_local'=9B;5:;2:;0",
  );
});

test('what is not known is never ok, and never hides what is known to be wrong', () => {
  expect(worstLevel([])).toBe('ok');
  expect(worstLevel(['ok', 'unknown'])).toBe('unknown');
  expect(worstLevel(['warning', 'unknown', 'ok'])).toBe('warning');
  expect((['ok', 'warning', 'critical', 'unknown'] as const).map(pluginStatus)).toEqual([0, 1, 2, 3]);
});
