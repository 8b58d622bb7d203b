import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type AssemblyStep, ReplyAssembly } from '../../src/mconsole/reply-assembly.js';

function datagram(err: number, more: boolean, text: Uint8Array): Buffer {
  const header = Buffer.alloc(12);
  header.writeInt32LE(err, 0);
  header.writeUInt32LE(more ? 1 : 0, 4);
  header.writeUInt32LE(text.length + 1, 8);
  return Buffer.concat([header, text, Buffer.alloc(1)]);
}

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
  const pieces = fc.array(fc.integer({ min: 1, max: 511 }), { maxLength: 20 });
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 2000 }), pieces, (text, sizes) => {
      const bytes = Buffer.from(text);
      const cuts: Buffer[] = [];
      let from = 0;
      for (const size of sizes) {
        cuts.push(bytes.subarray(from, from + size));
        from += size;
      }
      for (; from < bytes.length; from += 511) cuts.push(bytes.subarray(from, from + 511));
      const datagrams = [...cuts.map((cut) => datagram(0, true, cut)), datagram(0, false, Buffer.alloc(0))];
      expect(assemble(datagrams)).toEqual({ kind: 'complete', err: 0, text });
    }),
  );
});

test('a reply that failed after parts that went well has failed', () => {
  const parts = [
    datagram(0, true, Buffer.from('\n')),
    datagram(1, false, Buffer.from('Read of file failed')),
  ];
  expect(assemble(parts)).toEqual({ kind: 'complete', err: 1, text: '\nRead of file failed' });
});

test('a long refusal keeps the error that stands on its first datagram only', () => {
  const parts = [datagram(-22, true, Buffer.from('Bad ')), datagram(0, false, Buffer.from('option'))];
  expect(assemble(parts)).toEqual({ kind: 'complete', err: -22, text: 'Bad option' });
});

test('128 datagrams are a reply, and one that goes on after them is none', () => {
  const more = Array.from({ length: 127 }, () => datagram(0, true, Buffer.from('x')));
  expect(assemble([...more, datagram(0, false, Buffer.from('x'))])).toMatchObject({ kind: 'complete' });
  expect(assemble([...more, datagram(0, true, Buffer.from('x'))])).toMatchObject({ kind: 'malformed' });
});

test('a reply that fills the memory is cut off at 64 KiB', () => {
  const full = Array.from({ length: 128 }, () => datagram(0, true, Buffer.alloc(511, 'x')));
  const assembly = new ReplyAssembly();
  // 128 full datagrams stay just under 64 KiB: both limits hold, whichever comes first.
  const steps = full.map((one) => assembly.accept(one).kind);
  expect(steps.slice(0, 127)).not.toContain('malformed');
  expect(steps[127]).toBe('malformed');
});
