import { readFileSync } from 'node:fs';

export const onlineCpusFile = '/sys/devices/system/cpu/online';

/** The CPUs that may run a thread now. */
export function cpuNumbers(): number[] {
  return parseCpuList(readFileSync(onlineCpusFile, 'latin1'));
}

/** "0-2,5" is 0, 1, 2 and 5. Pure. */
export function parseCpuList(text: string): number[] {
  return text
    .trim()
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [first = 0, last = first] = part.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}
