import { formatSize } from '../config/size.js';

export { formatMs } from '../config/format-figure.js';

/** How figures look to people. */

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

/** Whether a guest has an agent: null is not known. */
export const agentText = (agent: boolean | null): string => (agent === null ? '-' : agent ? 'yes' : 'no');

export const formatBytes = (bytes: number | null | undefined): string =>
  bytes === null || bytes === undefined ? '-' : formatSize(bytes);
