/** Sizes as people write them, `10GiB 500MB`, and as the project holds them: bytes; rates, `50MiB/s`, likewise. */

const bytesByUnit: Record<string, number> = {
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};
const sizePattern = /^(\d+(?:\.\d+)?)(B|[kKMGT]B|[KMGT]iB)$/;

/**
 * Bytes of a size, or null when the text is none. A number without a unit, and `10G`, which means one thing here and
 * another there, are no sizes.
 */
export function parseSize(text: string): number | null {
  const match = sizePattern.exec(text);
  const unitBytes = bytesByUnit[match?.[2] ?? ''];
  if (!match || unitBytes === undefined) return null;
  const sizeBytes = Math.round(Number(match[1]) * unitBytes);
  return Number.isSafeInteger(sizeBytes) ? sizeBytes : null;
}

/** Bytes per second of a rate, `50MiB/s`, or null when the text is none. */
export function parseRate(text: string): number | null {
  return text.endsWith('/s') ? parseSize(text.slice(0, -2)) : null;
}

/** A rate for people: `1.5GiB/s`. */
export function formatRate(bytesPerSecond: number): string {
  return `${formatSize(bytesPerSecond)}/s`;
}

/** A size as a config has it: to the byte. */
export function exactSize(sizeBytes: number): string {
  const text = formatSize(sizeBytes);
  return parseSize(text) === sizeBytes ? text : `${sizeBytes}B`;
}

/** A size for people, in binary units with at most one decimal: `512B`, `1.5GiB`, `10GiB`. */
export function formatSize(sizeBytes: number): string {
  let amount = sizeBytes;
  let unit = 'B';
  for (const larger of ['KiB', 'MiB', 'GiB', 'TiB']) {
    // 1023.95 would be printed as 1024.0: the next unit is the one to use.
    if (Math.abs(amount) < 1023.95) break;
    amount /= 1024;
    unit = larger;
  }
  return `${amount.toFixed(1).replace(/\.0$/, '')}${unit}`;
}
