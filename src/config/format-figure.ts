import { formatRate, formatSize } from './size.js';

/** `1.3 ms`, `2.5 s` */
export function formatMs(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return '-';
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** A figure of a phase, in the unit that its name tells: `precopied=1.5GiB`. */
function formatFigure(name: string, value: unknown): string {
  if (typeof value !== 'number') return `${name}=${value}`;
  if (name.endsWith('BytesPerSecond'))
    return `${name.replace(/BytesPerSecond$/, 'Rate')}=${formatRate(value)}`;
  if (name.endsWith('Bytes')) return `${name.replace(/Bytes$/, '')}=${formatSize(value)}`;
  if (name.endsWith('Ms')) return `${name.replace(/Ms$/, '')}=${formatMs(value).replace(' ', '')}`;
  return `${name}=${value}`;
}

/** The figures of a phase on one line, all but those that are structures. */
export function formatFigures(facts: Record<string, unknown>): string {
  return Object.entries(facts)
    .filter(([, value]) => value !== null && value !== undefined && typeof value !== 'object')
    .map(([name, value]) => formatFigure(name, value))
    .join(' ');
}
