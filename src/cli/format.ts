import { formatRate, formatSize } from '../config/size.js';

/** How figures look to people. */

/** `1.3 ms`, `2.5 s` */
export function formatMs(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return '-';
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** `2026-11-21 03:15:00`, in local time */
export function formatTime(iso: string | null | undefined): string {
  if (!iso) return '-';
  const date = new Date(iso);
  const local = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19).replace('T', ' ');
}

/** `45 s`, `12 min`, `5 h`, `3 days` */
export function formatAge(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return '-';
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 2 * 3600) return `${Math.round(seconds / 60)} min`;
  return seconds < 2 * 86_400 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}

/** A figure of a phase, in the unit that its name tells: `precopied=1.5GiB`. */
export function formatFigure(name: string, value: unknown): string {
  if (typeof value !== 'number') return `${name}=${value}`;
  if (name.endsWith('BytesPerSecond'))
    return `${name.replace(/BytesPerSecond$/, 'Rate')}=${formatRate(value)}`;
  if (name.endsWith('Bytes')) return `${name.replace(/Bytes$/, '')}=${formatSize(value)}`;
  if (name.endsWith('Ms')) return `${name.replace(/Ms$/, '')}=${formatMs(value).replace(' ', '')}`;
  return `${name}=${value}`;
}

/** Whether a guest has an agent: null is not known. */
export const agentText = (agent: boolean | null): string => (agent === null ? '-' : agent ? 'yes' : 'no');

export const formatBytes = (bytes: number | null | undefined): string =>
  bytes === null || bytes === undefined ? '-' : formatSize(bytes);
