import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { escapeHtml, html } from '../../src/dashboard/html.js';

describe('a template', () => {
  test('takes whatever stands in it for text, in elements and in quoted attributes', () => {
    const hostile = `"><script>alert('1')</script>&amp;`;
    const escaped = '&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp;';
    const drawn = html`<a title="${hostile}">${hostile}</a>`.toString();
    expect(drawn).toBe(`<a title="${escaped}">${escaped}</a>`);
  });

  test('takes templates and lists of them as they are, and nothing for what is not there', () => {
    const items = ['<', 1].map((item) => html`<li>${item}`);
    const drawn = html`<ul>${items}</ul>${null}${undefined}${false}${[['&'], 0]}`.toString();
    expect(drawn).toBe('<ul><li>&lt;<li>1</ul>&amp;0');
  });

  test('shows what can turn the text around it, or not be seen, as what it is', () => {
    expect(escapeHtml('db\u202egnp.\u0000\u001b[31m\u200b')).toBe('db\\u202egnp.\\u0000\\u001b[31m\\u200b');
  });

  test('lets no text become markup, whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(html`<b>${text}</b>`.toString()).not.toMatch(/^<b>.*[<>"'].*<\/b>$/s);
      }),
    );
  });
});
