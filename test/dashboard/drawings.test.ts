import { describe, expect, test } from 'vitest';
import type { JobStatus } from '../../src/history/records.js';
import { decadeScale, linearScale, plot } from '../../src/dashboard/plot.js';
import { sparkline, sparkWords } from '../../src/dashboard/sparkline.js';
import { lensWindow, timelineBar, timelineWithLens, timesOf } from '../../src/dashboard/timeline.js';
import { pauseIntent, phase } from '../history/records-of-tests.js';

describe('a sparkline', () => {
  const draw = (...statuses: JobStatus[]) => sparkline(statuses, 30).toString();

  test('is one short path for many good jobs, and stands at the right edge', () => {
    expect(draw(...Array<JobStatus>(30).fill('success'))).toContain('<path class="s" d="M0 7h119"/>');
    expect(draw('success')).toContain('d="M116 7h3"');
  });

  test('gives every status a shape of its own, so that no colour is needed', () => {
    const statuses: JobStatus[] = ['success', 'warning', 'failed', 'interrupted', 'skipped', 'running'];
    const shapes = statuses.map((status) => / d="([^"]*)"/.exec(draw(status))?.[1]);
    expect(new Set(shapes).size).toBe(statuses.length);
  });

  test('says in words what it shows', () => {
    expect(sparkWords(['success', 'failed', 'success'])).toBe('2 good, 1 failed');
    expect(draw()).toContain('aria-label="none yet"');
  });
});

describe('the timeline of a job', () => {
  const phases = [
    phase('precopy', { durationMs: 15_000 }),
    phase('stop', { durationMs: 10 }),
    phase('capture', { durationMs: 2 }),
    phase('go', { durationMs: 1.5 }),
    phase('seal', { durationMs: 4986.5, outcome: 'failed' }),
  ];
  const ended = { pausedMs: 3, endedBy: 'request' as const, endedAt: '2026-11-21T03:15:15.100Z' };
  const times = timesOf({ phases, pauses: [{ ...pauseIntent('a.1', 'a'), ...ended }] });

  test('is to scale', () => {
    const drawn = timelineBar(times, times.durationMs).toString();
    const widths = [...drawn.matchAll(/<rect [^>]*width="([\d.]+)"/g)];
    expect(widths.map(([, width]) => Number(width))).toEqual([750, 0.5, 0.1, 0.08, 249.32]);
  });

  test('has a needle where a pause of 3 ms in 20 s is, which could not be seen at that scale', () => {
    const drawn = timelineBar(times, times.durationMs).toString();
    const at = Number(/class="needle" d="M([\d.]+) /.exec(drawn)?.[1]);
    expect(at).toBeCloseTo(750.58, 1);
  });

  test('shows the pause through a lens, over two thirds of the width', () => {
    const drawn = timelineWithLens(times).toString();
    const [, x, width] = /class="still" x="([\d.]+)" y="62" width="([\d.]+)"/.exec(drawn) ?? [];
    expect([Number(x), Number(width)]).toEqual([166.67, 666.66]);
    expect(lensWindow({ startMs: 15_010, endMs: 15_013 }, times)).toEqual({
      startMs: 15_009.25,
      endMs: 15_013.75,
    });
    expect(drawn).toContain('aria-label="In all 20 s; the guest stands still for 3 ms"');
  });

  test('places each try after a stop of its own, and knows nothing of one that nobody measured', () => {
    const twice = [phase('stop', { durationMs: 1 }), phase('go', { durationMs: 2 })];
    const unmeasured = { ...pauseIntent('a.1', 'a'), pausedMs: null, endedBy: null, endedAt: null };
    const second = { ...pauseIntent('a.2', 'a'), ...ended, pausedMs: 0.5 };
    const found = timesOf({ phases: [...twice, ...twice], pauses: [unmeasured, second] });
    expect(found.pauses).toEqual([{ startMs: 4, endMs: 4.5 }]);
  });

  test('of a job that failed before its first phase is empty, and no division by nothing', () => {
    const nothing = timesOf({ phases: [], pauses: [] });
    expect(timelineWithLens(nothing).toString()).not.toMatch(/NaN|Infinity/);
  });
});

describe('a plot', () => {
  test('puts decades equally far apart', () => {
    const scale = decadeScale([0.3, 5000], (value) => String(value));
    expect(scale.labels).toEqual(['0.1', '1', '10', '100', '1000', '10000']);
    expect(scale.positionOf(0.1)).toBeCloseTo(0);
    expect(scale.positionOf(100)).toBeCloseTo(0.6);
    expect(scale.positionOf(0)).toBe(0);
  });

  test('of equal values, of one, and of none larger than nothing can be drawn', () => {
    for (const scale of [decadeScale([5, 5], String), linearScale([0, 0], String)]) {
      for (const values of [[5], [0, 0]]) {
        const series = [{ look: 'dots' as const, points: values.map((value) => ({ atMs: 1, value })) }];
        const drawn = plot({ title: '', words: '', series, scale, from: '', to: '' });
        expect(drawn.toString()).not.toMatch(/NaN|Infinity/);
      }
    }
  });
});
