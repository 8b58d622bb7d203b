import { decadeScale } from '../../src/dashboard/plot.js';
import type { Figures } from './figures.js';
import { formatMiB, formatMs } from './format.js';
import { type MethodName, methodNames, methods } from './methods.js';

/** The plot of the pause against the image's size, as an SVG that is its own style sheet for light and dark. Pure. */

const panel = { width: 530, height: 400, left: 66, right: 208, top: 62, bottom: 56 };

/** Of Okabe and Ito, who chose them for eyes that tell few colours apart; those for dark are lighter. */
const colours: Record<MethodName, { light: string; dark: string }> = {
  recipe: { light: '#b3261e', dark: '#ff8a7a' },
  copy: { light: '#a66300', dark: '#ffb454' },
  compared: { light: '#7b4fa3', dark: '#c9a2ee' },
  traced: { light: '#00689d', dark: '#62bdf2' },
  reflink: { light: '#00785a', dark: '#4fd1a5' },
};

/** One panel for each filesystem, side by side, on the same axes. */
export function plotOf(figures: Figures[]): string {
  const filesystems = [...new Set(figures.map(({ filesystem }) => filesystem))];
  const axes = axesOf(figures);
  const size = `width="${panel.width * filesystems.length}" height="${panel.height}"`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${panel.width * filesystems.length} ${panel.height}" ${size} role="img">`,
    '<title>How long a guest stands still, by the size of its disk</title>',
    `<style>${styleSheet()}</style>`,
    `<rect class="paper" ${size} rx="8"/>`,
    ...filesystems.map((filesystem, n) => {
      const own = figures.filter((one) => one.filesystem === filesystem);
      return `<g transform="translate(${n * panel.width} 0)">${panelOf(filesystem, own, axes)}</g>`;
    }),
    '</svg>\n',
  ].join('\n');
}

type Axes = ReturnType<typeof axesOf>;

function axesOf(figures: Figures[]) {
  const sizesMiB = [...new Set(figures.map(({ sizeMiB }) => sizeMiB))].sort((a, b) => a - b);
  const scale = decadeScale(
    figures.flatMap(({ pause }) => [pause.median, pause.worst]),
    (ms) => (ms < 1000 ? `${ms} ms` : `${ms / 1000} s`),
  );
  const [smallest = 1, largest = 1] = [sizesMiB[0], sizesMiB.at(-1)];
  // A single size stands in the middle.
  const ends: [number, number] = smallest === largest ? [smallest / 2, largest * 2] : [smallest, largest];
  const { left, right, top, bottom, width, height } = panel;
  return {
    x: logScale(ends, [left + 12, width - right]),
    y: (ms: number) => height - bottom - scale.positionOf(ms) * (height - bottom - top),
    ...{ sizesMiB, labels: scale.labels },
  };
}

/** A logarithmic axis from `low`, at `from`, to `high`, at `to`. */
export function logScale([low, high]: [number, number], [from, to]: [number, number]) {
  const step = (to - from) / (Math.log10(high) - Math.log10(low));
  return (value: number) => from + (Math.log10(value) - Math.log10(low)) * step;
}

/** Moves labels that would touch down, as little as can be: each stands at least `apart` below the one above it. */
export function spreadOut(wanted: number[], apart: number): number[] {
  const placed = [...wanted];
  let lowest = Number.NEGATIVE_INFINITY;
  for (const { at, index } of wanted.map((at, index) => ({ at, index })).sort((a, b) => a.at - b.at)) {
    lowest = Math.max(at, lowest + apart);
    placed[index] = lowest;
  }
  return placed;
}

function panelOf(filesystem: string, figures: Figures[], axes: Axes): string {
  const shown = methodNames
    .map((method) => figures.filter((one) => one.method === method).sort((a, b) => a.sizeMiB - b.sizeMiB))
    .filter((line) => line.length > 0);
  const labelsAt = spreadOut(
    shown.map((line) => axes.y(line.at(-1)?.pause.median ?? 1)),
    17,
  );
  return [
    text(panel.left, 26, 'title', `Pause of the guest, ${filesystem}`),
    text(panel.left, 44, 'note', 'median of the runs; the thin line goes up to the worst'),
    grid(axes),
    ...shown.map((line, n) => lineOf(line, axes, labelsAt[n] ?? 0)),
  ].join('\n');
}

function grid({ x, sizesMiB, labels }: Axes): string {
  const { left, right, width, height, top, bottom } = panel;
  return [
    ...labels.map((label, n) => {
      const at = height - bottom - (n / (labels.length - 1)) * (height - bottom - top);
      const line = `<path class="grid" d="M${left} ${px(at)}H${width - right + 12}"/>`;
      return line + text(left - 10, at + 4, 'tick end', label);
    }),
    ...sizesMiB.map((size) => text(x(size), height - bottom + 22, 'tick middle', formatMiB(size))),
    text((left + width - right) / 2, height - 12, 'note middle', 'size of the image'),
  ].join('\n');
}

function lineOf(line: Figures[], { x, y }: Axes, labelAt: number): string {
  const points = line.map(({ sizeMiB, pause }) => ({
    ...{ at: px(x(sizeMiB)), median: px(y(pause.median)), worst: px(y(pause.worst)) },
  }));
  const last = line.at(-1);
  if (last === undefined) return '';
  const { method, pause } = last;
  const lastAt = x(last.sizeMiB);
  return [
    `<g class="${method}">`,
    ...points.map(({ at, median, worst }) => `<path class="worst" d="M${at} ${median}V${worst}"/>`),
    `<path class="line" d="M${points.map(({ at, median }) => `${at} ${median}`).join('L')}"/>`,
    ...points.map(({ at, median }) => `<circle cx="${at}" cy="${median}" r="4"/>`),
    `<path class="lead" d="M${px(lastAt + 7)} ${px(y(pause.median))}L${px(lastAt + 20)} ${px(labelAt)}"/>`,
    text(lastAt + 24, labelAt + 4, 'label', `${methods[method].shortTitle} ${formatMs(pause.median)}`),
    '</g>',
  ].join('');
}

function text(x: number, y: number, classes: string, content: string): string {
  return `<text x="${px(x)}" y="${px(y)}" class="${classes}">${content}</text>`;
}

const px = (at: number) => Number(at.toFixed(1));

function styleSheet(): string {
  const inColours = (shade: 'light' | 'dark') =>
    methodNames.map((method) => `.${method}{color:${colours[method][shade]}}`).join('');
  return [
    'text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#1f2328}',
    '.title{font-size:16px;font-weight:600}.note,.tick{fill:#59636e}.note{font-size:12px}',
    '.middle{text-anchor:middle}.end{text-anchor:end}.label{fill:currentColor;font-weight:600}',
    '.paper{fill:#fff}.grid{stroke:#d1d9e0;fill:none}',
    '.line,.worst,.lead{stroke:currentColor;fill:none}.line{stroke-width:2.5;stroke-linejoin:round}',
    '.worst{stroke-width:1.5}.lead{opacity:.5}circle{fill:currentColor}',
    inColours('light'),
    '@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.note,.tick{fill:#9198a1}.label{fill:currentColor}',
    `.paper{fill:#0d1117}.grid{stroke:#3d444d}${inColours('dark')}}`,
  ].join('');
}
