import { stripVTControlCharacters } from 'node:util';

/** C0 but tab and newline, DEL, C1, and the characters that turn or hide the text around them. */
const unsafe =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/**
 * Text of a guest's, made harmless for a terminal or a log: no escape sequences, no control characters but tab and
 * newline, nothing that changes the direction of writing (design §10).
 */
export function printable(text: string): string {
  return stripVTControlCharacters(text).replace(unsafe, '');
}

/** The same on one line, so that a guest can't write a line of its own into a log. */
export function printableLine(text: string): string {
  return printable(text).replace(/\s+/g, ' ').trim();
}
