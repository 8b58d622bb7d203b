/**
 * HTML as tagged templates. Whatever stands between `${` and `}` is text, and is escaped, so that no guest's word can
 * become markup: what is markup already is `Html`, and only this file makes it. A template MUST put values into text or into
 * quoted attributes, never into a tag's name, a script or a style.
 */
export class Html {
  readonly #text: string;

  /** For this file alone: everybody else writes templates. */
  constructor(text: string) {
    this.#text = text;
  }

  toString(): string {
    return this.#text;
  }

  /** With what it leads to below another path than `/`. Text has no quotes of its own: this finds what we wrote, and no word of a guest. */
  below(path: string): Html {
    return new Html(this.#text.replace(/ (href|src|action|formaction|data-base)="\//g, ` $1="${path}`));
  }
}

/** What may stand in a template: nothing for null, undefined and false, and lists one after the other. */
export type HtmlValue = string | number | Html | null | undefined | false | readonly HtmlValue[];

export function html(parts: TemplateStringsArray, ...values: HtmlValue[]): Html {
  let text = parts[0] ?? '';
  for (const [index, value] of values.entries()) text += render(value) + (parts[index + 1] ?? '');
  return new Html(text);
}

function render(value: HtmlValue): string {
  if (value === null || value === undefined || value === false) return '';
  if (value instanceof Html) return value.toString();
  if (typeof value === 'string') return escapeHtml(value);
  if (typeof value === 'number') return String(value);
  return value.map(render).join('');
}

const entities: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
/** What turns the text around it, or can't be seen: shown as what it is, so that no name can pass for another. */
const invisible =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is shown
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Text for an element or a quoted attribute. */
export function escapeHtml(text: string): string {
  return text
    .replace(invisible, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .replace(/[&<>"']/g, (character) => entities[character] ?? '');
}
