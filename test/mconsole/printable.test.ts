import fc from 'fast-check';
import { expect, test } from 'vitest';
import { printable, printableJson } from '../../src/mconsole/printable.js';

const esc = '\u001b';

test.each([
  ['colours', `${esc}[31mred${esc}[0m`, 'red'],
  ['a title for the terminal', `${esc}]0;owned\u0007text`, 'text'],
  ['a cleared screen', `${esc}[2J${esc}[Htext`, 'text'],
  ['an escape in one character', '\u009b31mtext', 'text'],
  ['a line overwritten', 'good\rbad', 'goodbad'],
  ['a text turned round', 'a\u202eb', 'ab'],
  ['no line, tab or letter of any script', 'één\tзвезда\n星', 'één\tзвезда\n星'],
])('of %s by the guest only what is harmless reaches the terminal', (_, text, shown) => {
  expect(printable(text)).toBe(shown);
});

test('nothing that the guest sends leaves a control character, in words or in JSON, which loses nothing', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
      const json = printableJson({ text });
      expect(JSON.parse(json)).toEqual({ text });
      expect(`${printable(text)}${json}`).not.toMatch(
        // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
        /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/,
      );
    }),
  );
});
