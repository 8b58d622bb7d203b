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

/** JSON of it that is as harmless on a terminal, and loses nothing: whoever parses it has the text as it was. */
export function printableJson(value: unknown): string {
  return escapeInJson(JSON.stringify(value));
}

/** The same for a text that is JSON already. */
export function escapeInJson(json: string): string {
  return json.replace(unsafe, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** As `printable`, on one line, so that a guest can't write a line of its own into a log. */
export function printableLine(text: string): string {
  return printable(text).replace(/\s+/g, ' ').trim();
}
