import { formatSize } from '../config/size.js';

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

export const formatBytes = (bytes: number | null | undefined): string =>
  bytes === null || bytes === undefined ? '-' : formatSize(bytes);
