import { durationText, sizeText } from './format.js';

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
