import type { JobWithDetails } from '../history/job-queries.js';
import { durationText } from './format.js';
import { type Html, html } from './html.js';

/**
 * The phases of a job, drawn to scale. A pause of 3 ms in a job of 20 s would be a seventh of a pixel: so a needle marks
 * where it is, and a lens under the bar shows it, and the phases in it, at a scale of its own.
 */

/** In milliseconds since the job's first phase began. */
export interface Span {
  startMs: number;
  endMs: number;
}

export interface PhaseSpan extends Span {
  phase: string;
  outcome: string;
}

export interface JobTimes {
  phases: PhaseSpan[];
  pauses: Span[];
  durationMs: number;
}

/**
 * Where phases and pauses lie. Phases follow each other without gaps and are measured to the microsecond, so they are added
 * up; their starts are known to the millisecond only. A try stands still from the end of its `stop` on.
 */
export function timesOf({ phases, pauses }: Pick<JobWithDetails, 'phases' | 'pauses'>): JobTimes {
  let atMs = 0;
  const spans = phases.map(({ phase, outcome, durationMs }): PhaseSpan => {
    const startMs = atMs;
    atMs += durationMs;
    return { phase, outcome, startMs, endMs: atMs };
  });
  const stops = spans.filter(({ phase }) => phase === 'stop');
  const measured = pauses.flatMap(({ pausedMs }, index): Span[] => {
    const stop = stops[index];
    return pausedMs === null || stop === undefined
      ? []
      : [{ startMs: stop.endMs, endMs: stop.endMs + pausedMs }];
  });
  return { phases: spans, pauses: measured, durationMs: atMs };
}

/** Units of the drawing's width, which is stretched to whatever room there is. */
const width = 1000;
const units = (ms: number, ofMs: number) => (ofMs <= 0 ? 0 : rounded((ms / ofMs) * width));
function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}

/** @param scaleMs what the whole width stands for: the same for jobs that are to be compared */
export function timelineBar(times: JobTimes, scaleMs: number): Html {
  const height = 16;
  return html`<svg class="bar" aria-hidden="true" preserveAspectRatio="none" viewBox="0 0 ${width} ${height}">${bar(times, scaleMs, 4, 12)}${needles(times, scaleMs, height)}</svg>`;
}

/** The bar, and under it the longest pause through a lens; without a pause the bar alone. */
export function timelineWithLens(times: JobTimes): Html {
  const longest = longestPause(times);
  if (!longest) return timelineBar(times, times.durationMs);
  const window = lensWindow(longest, times);
  const [fromX, toX] = [window.startMs, window.endMs].map((ms) => units(ms, times.durationMs));
  const label = `In all ${durationText(times.durationMs)}; the guest stands still for ${durationText(longest.endMs - longest.startMs)}`;
  return html`<svg class="bar lens" role="img" aria-label="${label}" preserveAspectRatio="none" viewBox="0 0 ${width} 74">${bar(times, times.durationMs, 4, 16)}${needles(times, times.durationMs, 22)}<path class="beam" d="M${fromX} 22L0 42H${width}L${toX} 22z"/>${lens(times, window, longest)}</svg>`;
}

export function longestPause({ pauses }: JobTimes): Span | undefined {
  const lengthOf = ({ startMs, endMs }: Span) => endMs - startMs;
  return pauses.toSorted((a, b) => lengthOf(b) - lengthOf(a))[0];
}

/** The pause takes the middle two thirds. */
export function lensWindow(pause: Span, { durationMs }: JobTimes): Span {
  const marginMs = (pause.endMs - pause.startMs) / 4;
  return {
    startMs: Math.max(0, pause.startMs - marginMs),
    endMs: Math.max(pause.endMs, Math.min(durationMs, pause.endMs + marginMs)),
  };
}

function bar({ phases }: JobTimes, scaleMs: number, y: number, height: number): Html[] {
  return phases.map(({ phase, outcome, startMs, endMs }) =>
    rect(phase, outcome, startMs, endMs, scaleMs, y, height),
  );
}

function lens({ phases }: JobTimes, window: Span, pause: Span): Html {
  const scaleMs = window.endMs - window.startMs;
  const clipped = phases
    .map((span) => ({
      ...span,
      startMs: Math.max(span.startMs, window.startMs) - window.startMs,
      endMs: Math.min(span.endMs, window.endMs) - window.startMs,
    }))
    .filter(({ startMs, endMs }) => endMs > startMs);
  const [x, end] = [pause.startMs, pause.endMs].map((ms) => units(ms - window.startMs, scaleMs));
  const still = html`<rect class="still" x="${x}" y="62" width="${rounded((end ?? 0) - (x ?? 0))}" height="10"/>`;
  return html`${clipped.map(({ phase, outcome, startMs, endMs }) => rect(phase, outcome, startMs, endMs, scaleMs, 42, 18))}${still}`;
}

function rect(
  phase: string,
  outcome: string,
  startMs: number,
  endMs: number,
  scaleMs: number,
  y: number,
  height: number,
): Html {
  const x = units(startMs, scaleMs);
  const className = `p-${phaseClass(phase)}${outcome === 'done' ? '' : ' bad'}`;
  return html`<rect class="${className}" x="${x}" y="${y}" width="${rounded(units(endMs, scaleMs) - x)}" height="${height}"/>`;
}

/** A line whose width is on the screen and not to scale: it marks the place. */
function needles({ pauses }: JobTimes, scaleMs: number, height: number): Html[] {
  return pauses.map(({ startMs, endMs }) => {
    const x = units((startMs + endMs) / 2, scaleMs);
    return html`<path class="needle" d="M${x} 0V${height}"/>`;
  });
}

const knownPhases = [
  ...['preflight', 'precopy', 'sync', 'freeze', 'stop', 'check', 'capture', 'go', 'thaw', 'seal', 'retain'],
];

/** Phases of other kinds of jobs, and of later versions, look alike. */
export function phaseClass(phase: string): string {
  return knownPhases.includes(phase) ? phase : 'other';
}
