import type { Figures } from './figures.js';
import { formatMiB, formatMs } from './format.js';
import { decadesAround, type LogScale, logScale, spreadOut } from './log-scale.js';
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

interface Axes {
  x: LogScale;
  y: LogScale;
  sizesMiB: number[];
  decadesMs: number[];
}

/** One panel for each filesystem, side by side, on the same axes. */
export function plotOf(figures: Figures[]): string {
  const filesystems = [...new Set(figures.map(({ filesystem }) => filesystem))];
  const axes = axesOf(figures);
  const width = panel.width * filesystems.length;
  const panels = filesystems.map((filesystem, n) => {
    const own = figures.filter((one) => one.filesystem === filesystem);
    return `<g transform="translate(${n * panel.width} 0)">${panelOf(filesystem, own, axes)}</g>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${panel.height}" width="${width}" height="${panel.height}" role="img">`,
    '<title>How long a guest stands still, by the size of its disk</title>',
    `<style>${styleSheet()}</style>`,
    `<rect class="paper" width="${width}" height="${panel.height}" rx="8"/>`,
    ...panels,
    '</svg>\n',
  ].join('\n');
}

function axesOf(figures: Figures[]): Axes {
  const sizesMiB = [...new Set(figures.map(({ sizeMiB }) => sizeMiB))].sort((a, b) => a - b);
  const decadesMs = decadesAround(figures.flatMap(({ pause }) => [pause.median, pause.worst]));
  const [smallest = 1, largest = 1] = [sizesMiB[0], sizesMiB.at(-1)];
  // A single size stands in the middle.
  const ends: [number, number] = smallest === largest ? [smallest / 2, largest * 2] : [smallest, largest];
  const { left, right, top, bottom, width, height } = panel;
  return {
    x: logScale(ends, [left + 12, width - right]),
    y: logScale([decadesMs[0] ?? 1, decadesMs.at(-1) ?? 10], [height - bottom, top]),
    ...{ sizesMiB, decadesMs },
  };
}

function panelOf(filesystem: string, figures: Figures[], axes: Axes): string {
  const shown = methodNames
    .map((method) => figures.filter((one) => one.method === method))
    .filter((line) => line.length > 0)
    .map((line) => [...line].sort((a, b) => a.sizeMiB - b.sizeMiB));
  const ends = shown.map((line) => axes.y.at(line.at(-1)?.pause.median ?? 1));
  const labelsAt = spreadOut(ends, 17);
  return [
    text(panel.left, 26, 'title', `Pause of the guest, ${filesystem}`),
    text(panel.left, 44, 'note', 'median of the runs; the thin line goes up to the worst'),
    grid(axes),
    ...shown.map((line, n) => lineOf(line, axes, labelsAt[n] ?? 0)),
  ].join('\n');
}

function grid({ x, y, sizesMiB, decadesMs }: Axes): string {
  const { left, right, width, height, bottom } = panel;
  const rows = decadesMs.map(
    (ms) =>
      `<path class="grid" d="M${left} ${px(y.at(ms))}H${width - right + 12}"/>` +
      text(left - 10, y.at(ms) + 4, 'tick end', tickOf(ms)),
  );
  const columns = sizesMiB.map((size) =>
    text(x.at(size), height - bottom + 22, 'tick middle', formatMiB(size)),
  );
  const caption = text((left + width - right) / 2, height - 12, 'note middle', 'size of the image');
  return [...rows, ...columns, caption].join('\n');
}

function lineOf(line: Figures[], { x, y }: Axes, labelAt: number): string {
  const method = line[0]?.method ?? 'recipe';
  const points = line.map(({ sizeMiB, pause }) => ({
    ...{ at: x.at(sizeMiB), median: y.at(pause.median), worst: y.at(pause.worst) },
  }));
  const path = points.map(({ at, median }) => `${px(at)} ${px(median)}`).join('L');
  const last = points.at(-1) ?? { at: 0, median: 0 };
  const lastMs = line.at(-1)?.pause.median ?? 0;
  return [
    `<g class="${method}">`,
    ...points.map(
      ({ at, median, worst }) => `<path class="worst" d="M${px(at)} ${px(median)}V${px(worst)}"/>`,
    ),
    `<path class="line" d="M${path}"/>`,
    ...points.map(({ at, median }) => `<circle cx="${px(at)}" cy="${px(median)}" r="4"/>`),
    `<path class="lead" d="M${px(last.at + 7)} ${px(last.median)}L${px(last.at + 20)} ${px(labelAt)}"/>`,
    text(last.at + 24, labelAt + 4, 'label', `${methods[method].shortTitle} ${formatMs(lastMs)}`),
    '</g>',
  ].join('');
}

function tickOf(ms: number): string {
  return ms < 1000 ? `${ms} ms` : `${ms / 1000} s`;
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
