import fc from 'fast-check';
import { expect, onTestFinished, test, vi } from 'vitest';
import { UmlsnapError } from '../../../src/errors.js';
import type { ImagePiece } from '../../../src/image/image-content.js';
import { failureOf, storeError } from '../../../src/store/restic/restic-failure.js';
import { withoutZeros } from '../../../src/store/restic/restic-image.js';
import { type OutOfPatience, withPatience } from '../../../src/store/restic/restic-patience.js';
import { localDirectory, shownRepository } from '../../../src/store/restic/restic-place.js';

const said = (problem: string, exitCode = 1) =>
  new UmlsnapError('CommandFailed', { command: 'restic', exitCode, problem });

const noConfig = 'Fatal: unable to open config file:';
const noLock = 'unable to create lock in backend:';

test.each<[failure: string, problem: string, exitCode?: number]>([
  ['noRepository', `${noConfig} stat /r/config: no such file or directory\nIs there a repository`],
  ['noRepository', `${noConfig} <config/> does not exist\nIs there a repository at`],
  ['noRepository', `${noConfig} Stat: The specified bucket does not exist`],
  ['other', `${noConfig} client.Head: dial tcp 127.0.0.1:9: connect: connection refused`],
  ['other', `${noConfig} dial tcp: lookup nowhere.example: no such host`],
  ['wrongPassword', 'Fatal: wrong password or no key found'],
  ['locked', `${noLock} repository is already locked exclusively by PID 4 on h by root`],
  ['other', `${noLock} Save(<lock/1>): connection refused`],
  ['full', 'Fatal: unable to save snapshot: write /r/data/x: no space left on device'],
  ['dataDamaged', 'cannot dump file: decrypting blob 87 failed: ciphertext verification failed'],
  ['dataDamaged', 'Load(<data/f7>, 2302115, 1258715) returned error, retrying after 1.5s: EOF'],
  ['other', 'Fatal: Resolving password failed: permission denied'],
  // The exit codes of newer versions count more than their words.
  ['noRepository', 'whatever', 10],
  ['locked', 'whatever', 11],
  ['wrongPassword', 'whatever', 12],
])('%s is told by: %s', (failure, problem, exitCode) => {
  expect(failureOf(said(problem, exitCode))).toBe(failure);
});

test('an error names the store, what restic said in one line, and what to do', async () => {
  const place = { name: 'offsite', path: 'rest:http://***@host/' };
  expect(await storeError(place, said('Fatal: one\nIs there two', 3))).toMatchObject({
    code: 'StoreUnusable',
    facts: { store: 'offsite', path: place.path, problem: 'restic failed with 3: Fatal: one / Is there two' },
  });
  const locked = await storeError(place, said('repository is already locked by PID 7'));
  expect(locked.facts).toMatchObject({ problem: expect.stringMatching(/PID 7.*restic unlock/) });
});

test('an address is shown without its password, and only a path is a directory', () => {
  expect(shownRepository('rest:https://me:hidden@host:8000/a')).toBe('rest:https://***@host:8000/a');
  expect(shownRepository('sftp:me@host:/srv')).toBe('sftp:me@host:/srv');
  for (const place of ['/srv/r', 'local:/srv/r']) expect(localDirectory(place)).toBe('/srv/r');
  for (const place of ['sftp:h:/srv', 'rest:http://h/']) expect(localDirectory(place)).toBeUndefined();
});

test('an image that comes in pieces of any length keeps every byte, and no block of zeros is data', async () => {
  const run = fc.record({ length: fc.integer({ min: 1, max: 20_000 }), byte: fc.constantFrom(0, 0, 1) });
  const cuts = fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(fc.array(run, { maxLength: 30 }), cuts, async (runs, lengths) => {
      const image = Buffer.concat(runs.map(({ length, byte }) => Buffer.alloc(length, byte)));
      const copy = Buffer.alloc(image.length);
      let before = 0;
      for await (const { offset, data } of withoutZeros(cut(image, lengths))) {
        expect(offset).toBeGreaterThanOrEqual(before);
        data.copy(copy, offset);
        before = offset + data.length;
        // What is data has a byte in each block of it, or in the part of a block that came with the piece.
        for (let at = offset; at < before; at = Math.min(before, at - (at % 4096) + 4096)) {
          const end = Math.min(before, at - (at % 4096) + 4096);
          expect(image.subarray(at, end).some((byte) => byte !== 0)).toBe(true);
        }
      }
      expect(copy.equals(image)).toBe(true);
    }),
    { numRuns: 200 },
  );
});

async function* cut(image: Buffer, lengths: number[]): AsyncGenerator<ImagePiece> {
  let offset = 0;
  for (let index = 0; offset < image.length; index++) {
    const data = image.subarray(offset, offset + (lengths[index % lengths.length] ?? 1));
    yield { offset, data };
    offset += data.length;
  }
}

test('patience ends with the words of what was tried in vain, and not while something gets on', async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const limits = { retryingMs: 60, silenceMs: 300, lockedMs: 0 };
  const saidIn = ({ reason }: AbortSignal) => (reason as OutOfPatience | undefined)?.said;
  await withPatience(limits, async ({ signal, hear, progress }) => {
    for (let round = 0; round < 10; round++) {
      hear('Load(<data/1>) returned error, retrying after 1s: gone');
      vi.advanceTimersByTime(59);
      progress();
    }
    hear('warning: of no weight');
    hear('Load(<data/2>) returned error, retrying after 1s: gone');
    vi.advanceTimersByTime(59);
    expect(signal.aborted).toBe(false);
    vi.advanceTimersByTime(1);
    expect(saidIn(signal)).toMatch(/data\/2.*gone/);
  });
  await withPatience(limits, async ({ signal, rest, progress }) => {
    // Nobody reads what restic has: it is not restic that we wait for.
    rest();
    vi.advanceTimersByTime(1000);
    expect(signal.aborted).toBe(false);
    progress();
    vi.advanceTimersByTime(300);
    expect(saidIn(signal)).toMatch(/nothing got on/);
  });
});
