import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type AssemblyStep, ReplyAssembly } from '../../src/mconsole/reply-assembly.js';
import { replyDatagram } from '../fixtures/reply-datagram.js';

/** A part that has others behind it, and the last one. */
const part = (text: string, err = 0) => replyDatagram(`${text}\0`, { err, more: 1 });
const end = (text: string, err = 0) => replyDatagram(`${text}\0`, { err });

/** Feeds the datagrams, and gives the step that ended the reply, or the last one. */
function assemble(datagrams: Buffer[]): AssemblyStep {
  const assembly = new ReplyAssembly();
  let step: AssemblyStep = { kind: 'incomplete' };
  for (const one of datagrams) {
    step = assembly.accept(one);
    if (step.kind !== 'incomplete') return step;
  }
  return step;
}

test('a text is put together again, wherever it was cut, through characters too', () => {
  const pieces = fc.array(fc.integer({ min: 0, max: 511 }), { maxLength: 20 });
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 2000 }), pieces, (text, sizes) => {
      const bytes = Buffer.from(text);
      const parts: Buffer[] = [];
      for (let from = 0; from < bytes.length; ) {
        const to = from + (sizes[parts.length] ?? 511);
        parts.push(replyDatagram(Buffer.concat([bytes.subarray(from, to), Buffer.alloc(1)]), { more: 1 }));
        from = to;
      }
      expect(assemble([...parts, end('')])).toEqual({ kind: 'complete', err: 0, text });
    }),
  );
});

test.each([
  ['that fails after its first part has failed', [part('\n'), end('Read failed', 1)], 1, '\nRead failed'],
  ['that is long has its error on its first datagram', [part('Bad ', -22), end('name')], -22, 'Bad name'],
])('a reply %s', (_, datagrams, err, text) => {
  expect(assemble(datagrams)).toEqual({ kind: 'complete', err, text });
});

test('128 datagrams are a reply, and one that goes on after them is none', () => {
  const more = Array.from({ length: 127 }, () => part('x'.repeat(511)));
  expect(assemble(more)).toMatchObject({ kind: 'incomplete' });
  expect(assemble([...more, end('x')])).toMatchObject({ kind: 'complete' });
  expect(assemble([...more, part('x')])).toMatchObject({ kind: 'malformed' });
});
