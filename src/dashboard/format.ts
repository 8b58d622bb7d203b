import { formatDuration } from '../config/duration.js';
import { formatSize } from '../config/size.js';
import type { Trigger } from '../history/records.js';

/** How times and figures look on a page. */

/** `3.1 ms`, `20.4 s`, `2 min 10 s` */
export function durationText(ms: number): string {
  return formatDuration(ms)
    .replace(/(ms|[dhms])/g, (unit) => ` ${unit === 'm' ? 'min' : unit} `)
    .trimEnd()
    .replace(/ {2}/g, ' ');
}

/** `1.5 GiB` */
export function sizeText(sizeBytes: number): string {
  return formatSize(sizeBytes).replace(/[A-Za-z]+$/, (unit) => ` ${unit}`);
}

/** `45 s`, `12 min`, `5 h`, `3 days`: how long ago, or how far ahead. */
export function ageText(ageMs: number): string {
  const seconds = Math.max(0, Math.round(ageMs / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 2 * 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 2 * 86_400) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

export const msSince = (iso: string, now: Date): number => now.getTime() - Date.parse(iso);

/** `2026-11-21 03:15`, in the daemon's time zone. */
export function timeText(iso: string, withSeconds = false): string {
  const date = new Date(iso);
  const local = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  return local
    .toISOString()
    .slice(0, withSeconds ? 19 : 16)
    .replace('T', ' ');
}

/** `today 03:15`, `tomorrow 03:15`, `Mon 03:15` within the week, else the date. */
export function soonText(iso: string, now: Date): string {
  const day = (date: Date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  const date = new Date(iso);
  const clock = timeText(iso).slice(11);
  const days = Math.round((day(date) - day(now)) / 86_400_000);
  if (days === 0) return `today ${clock}`;
  if (days === 1) return `tomorrow ${clock}`;
  if (days > 1 && days < 7) return `${date.toLocaleDateString('en', { weekday: 'short' })} ${clock}`;
  return timeText(iso);
}

/** Who wanted a job. */
export const triggerText: Record<Trigger, string> = {
  ...{
    manual: 'by hand',
    schedule: 'by schedule',
    catchUp: 'to catch up',
    request: 'by request',
    sweep: 'by sweep',
  },
};

/** A figure of a phase in the unit that its name tells: `precopied 1.5GiB`. */
export function figureText(name: string, value: unknown): string {
  if (typeof value !== 'number')
    return `${name} ${typeof value === 'object' ? JSON.stringify(value) : value}`;
  if (name.endsWith('BytesPerSecond'))
    return `${name.slice(0, -'BytesPerSecond'.length)} ${sizeText(value)}/s`;
  if (name.endsWith('Bytes')) return `${name.slice(0, -'Bytes'.length)} ${sizeText(value)}`;
  if (name.endsWith('Ms')) return `${name.slice(0, -'Ms'.length)} ${durationText(value)}`;
  return `${name} ${value}`;
}
