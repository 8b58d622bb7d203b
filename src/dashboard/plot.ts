import { type Html, html } from './html.js';

/** Values over time. The drawing is stretched to whatever room there is; the labels beside it are text of the page. */

export interface PlotPoint {
  atMs: number;
  value: number;
}

export interface PlotSeries {
  /** Names its look: `dots`, `line` or `dash`. */
  look: 'dots' | 'line' | 'dash';
  points: PlotPoint[];
}

export interface PlotOptions {
  title: string;
  /** What the picture shows, for those who don't see it. */
  ariaLabel: string;
  series: PlotSeries[];
  scale: Scale;
  from: string;
  to: string;
}

export interface Scale {
  /** From the bottom to the top, equally far apart on the page. */
  labels: string[];
  /** 0 at the bottom to 1 at the top. */
  positionOf(value: number): number;
}

const width = 1000;
const height = 200;

export function plot({ title, ariaLabel, series, scale, from, to }: PlotOptions): Html {
  const times = series.flatMap(({ points }) => points.map(({ atMs }) => atMs));
  const firstMs = Math.min(...times);
  const spanMs = Math.max(...times) - firstMs;
  const x = (atMs: number) => Math.round(spanMs <= 0 ? width / 2 : ((atMs - firstMs) / spanMs) * width);
  const y = (value: number) => Math.round((1 - scale.positionOf(value)) * height);
  const drawn = series.map(({ look, points }) => {
    const path = points.map(({ atMs, value }, index) =>
      look === 'dots' ? `M${x(atMs)} ${y(value)}h0` : `${index === 0 ? 'M' : 'L'}${x(atMs)} ${y(value)}`,
    );
    return html`<path class="${look}" d="${path.join('')}"/>`;
  });
  const grid = scale.labels
    .map((_, index) => `M0 ${Math.round((index / (scale.labels.length - 1)) * height)}h${width}`)
    .join('');
  return html`<figure class="plot">
<figcaption>${title}</figcaption>
<div class="axes"><ol class="y" aria-hidden="true">${scale.labels.toReversed().map((label) => html`<li>${label}`)}</ol>
<svg role="img" aria-label="${ariaLabel}" preserveAspectRatio="none" viewBox="0 0 ${width} ${height}"><path class="grid" d="${grid}"/>${drawn}</svg>
<p class="x" aria-hidden="true"><span>${from}</span><span>${to}</span></p></div>
</figure>`;
}

/** Whole decades around the values: for lengths that differ by orders of magnitude. */
export function decadeScale(values: readonly number[], labelOf: (value: number) => string): Scale {
  const positive = values.filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(...positive)) + 1e-9);
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...positive)) - 1e-9));
  const lowest = 10 ** low;
  return {
    labels: Array.from({ length: high - low + 1 }, (_, index) => labelOf(10 ** (low + index))),
    positionOf: (value) => (Math.log10(Math.max(value, lowest)) - low) / (high - low),
  };
}

/** From nothing to the largest value, in four steps. */
export function linearScale(values: readonly number[], labelOf: (value: number) => string): Scale {
  const top = Math.max(...values, 1);
  return {
    labels: [0, 0.25, 0.5, 0.75, 1].map((part) => labelOf(part * top)),
    positionOf: (value) => value / top,
  };
}
