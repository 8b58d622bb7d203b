import { describe, expect, test } from 'vitest';
import { decadeScale, linearScale, plot } from '../../src/dashboard/plot.js';
import { sparkline, sparkText } from '../../src/dashboard/sparkline.js';
import { lensWindow, timelineBar, timelineWithLens, timesOf } from '../../src/dashboard/timeline.js';
import type { JobStatus } from '../../src/history/records.js';
import { pauseIntent, phase } from '../history/records-of-tests.js';

test('a sparkline is one short path for many good jobs, at the right edge; each status has a shape, so that no colour is needed', () => {
  const draw = (...statuses: JobStatus[]) => sparkline(statuses, 30).toString();
  expect(draw(...Array<JobStatus>(30).fill('success'))).toContain('<path class="s" d="M0 7h119"/>');
  expect(draw('success')).toContain('d="M116 7h3"');
  const statuses: JobStatus[] = ['success', 'warning', 'failed', 'interrupted', 'skipped', 'running'];
  const shapes = statuses.map((status) => / d="([^"]*)"/.exec(draw(status))?.[1]);
  expect(new Set(shapes).size).toBe(statuses.length);
  expect(sparkText(['success', 'failed', 'success'])).toBe('2 good, 1 failed');
  expect(draw()).toContain('aria-label="none yet"');
});

describe('the timeline of a job', () => {
  const ended = { pausedMs: 3, endedBy: 'request' as const, endedAt: '2026-11-21T03:15:15.100Z' };
  const times = timesOf({
    phases: [
      phase('precopy', { durationMs: 15_000 }),
      phase('stop', { durationMs: 10 }),
      phase('capture', { durationMs: 2 }),
      phase('go', { durationMs: 1.5 }),
      phase('seal', { durationMs: 4986.5, outcome: 'failed' }),
    ],
    pauses: [{ ...pauseIntent('a.1', 'a'), ...ended }],
  });

  test('is to scale, with a needle where a pause of 3 ms in 20 s is, which could not be seen at that scale', () => {
    const drawn = timelineBar(times, times.durationMs).toString();
    const widths = [...drawn.matchAll(/<rect [^>]*width="([\d.]+)"/g)];
    expect(widths.map(([, width]) => Number(width))).toEqual([750, 0.5, 0.1, 0.08, 249.32]);
    expect(Number(/class="needle" d="M([\d.]+) /.exec(drawn)?.[1])).toBeCloseTo(750.58, 1);
  });

  test('shows the pause through a lens, over two thirds of the width', () => {
    const drawn = timelineWithLens(times).toString();
    const [, x, width] = /class="still" x="([\d.]+)" y="62" width="([\d.]+)"/.exec(drawn) ?? [];
    expect([Number(x), Number(width)]).toEqual([166.67, 666.66]);
    const lens = lensWindow({ startMs: 15_010, endMs: 15_013 }, times);
    expect(lens).toEqual({ startMs: 15_009.25, endMs: 15_013.75 });
    expect(drawn).toContain('aria-label="In all 20 s; the guest stands still for 3 ms"');
  });

  test('places each try after a stop of its own, and knows nothing of one that nobody measured', () => {
    const once = [phase('stop', { durationMs: 1 }), phase('go', { durationMs: 2 })];
    const unmeasured = { ...pauseIntent('a.1', 'a'), pausedMs: null, endedBy: null, endedAt: null };
    const second = { ...pauseIntent('a.2', 'a'), ...ended, pausedMs: 0.5 };
    const found = timesOf({ phases: [...once, ...once], pauses: [unmeasured, second] });
    expect(found.pauses).toEqual([{ startMs: 4, endMs: 4.5 }]);
  });

  test('of a job that failed before its first phase is empty, and no division by nothing', () => {
    const nothing = timesOf({ phases: [], pauses: [] });
    expect(timelineWithLens(nothing).toString()).not.toMatch(/NaN|Infinity/);
  });
});

test('a plot puts decades equally far apart, and can be drawn of equal values, of one, and of none larger than nothing', () => {
  const decades = decadeScale([0.3, 5000], String);
  expect(decades.labels).toEqual(['0.1', '1', '10', '100', '1000', '10000']);
  expect(decades.positionOf(0.1)).toBeCloseTo(0);
  expect(decades.positionOf(100)).toBeCloseTo(0.6);
  expect(decades.positionOf(0)).toBe(0);
  for (const scale of [decadeScale([5, 5], String), linearScale([0, 0], String)]) {
    for (const values of [[5], [0, 0]]) {
      const series = [{ look: 'dots' as const, points: values.map((value) => ({ atMs: 1, value })) }];
      const drawn = plot({ title: '', ariaLabel: '', series, scale, from: '', to: '' });
      expect(drawn.toString()).not.toMatch(/NaN|Infinity/);
    }
  }
});
