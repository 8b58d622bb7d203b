/** `0.84 ms`, `2.1 ms`, `214 ms`, `6.03 s`. */
export function formatMs(ms: number): string {
  if (ms < 0.995) return `${ms.toFixed(2)} ms`;
  if (ms < 99.5) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${ms.toFixed(0)} ms`;
  return `${(ms / 1000).toFixed(ms < 9_995 ? 2 : 1)} s`;
}

/** `256 MiB`, `4 GiB`. */
export function formatMiB(sizeMiB: number): string {
  return sizeMiB % 1024 === 0 ? `${sizeMiB / 1024} GiB` : `${Math.round(sizeMiB)} MiB`;
}

/** `1,234×`; below ten with one decimal. */
export function formatTimes(times: number): string {
  return times < 9.95 ? `${times.toFixed(1)}×` : `${Math.round(times).toLocaleString('en-US')}×`;
}
