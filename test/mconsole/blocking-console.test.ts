import { existsSync, readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { BlockingConsole } from '../../src/mconsole/blocking-console.js';
import { type FakeGuest, withFakeGuest } from '../fixtures/fake-guest.js';
import type { Fault } from '../fixtures/misbehaviour.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';
import { fillQueue, patient, withOwnGuest } from './with-client.js';

/** A guest is a process of its own: it answers while nothing of ours runs. */

afterEach(() => vi.unstubAllEnvs());

const patientMs = 30_000;

function withConsole(
  fault: Fault | null,
  use: (console: BlockingConsole, guest: FakeGuest) => void | Promise<void>,
): Promise<void> {
  return withTempDir((dir) =>
    withFakeGuest({ dir: `${dir}/g`, misbehave: fault ? [{ on: 'version', fault }] : [] }, async (guest) => {
      const console = await BlockingConsole.open(guest.socketPath);
      try {
        await use(console, guest);
      } finally {
        console.close();
      }
    }),
  );
}

const ok = { type: 'ok', text: expect.stringMatching(/^Linux fake/) };

describe('without an event loop', () => {
  test('requests are answered in the order in which they were sent, of any length, and refused by their text', () =>
    withConsole(null, (console) => {
      const sent = ['version', 'proc vmstat', 'go'].map((command) => console.send(command));
      expect(console.wait(sent, performance.now() + patientMs)).toBe(true);
      expect(sent.map(({ answer }) => answer)).toEqual([
        ok,
        { type: 'ok', text: expect.stringMatching(/^\n(nr_other 1\n){100}nr_dirty 0\nnr_writeback 0\n$/) },
        { type: 'refused', err: 1, text: 'Not stopped' },
      ]);
    }));

  test.each<[string, Fault, unknown]>([
    ['byte by byte, it is read whole', { kind: 'bytewiseAnswer', everyMs: 1 }, ok],
    ['twice, one counts', { kind: 'duplicateAnswer' }, ok],
    [
      'by others as well, the true one is taken',
      { kind: 'foreignAnswers', sender: 'otherSocket', thenTrueAnswer: true },
      ok,
    ],
    [
      'by somebody without a name only, it is none',
      { kind: 'foreignAnswers', sender: 'namelessSocket', thenTrueAnswer: false },
      null,
    ],
    ['not at all, it is not waited for longer than was said', { kind: 'dropAnswer' }, null],
    [
      'in datagrams without an end, it is malformed',
      { kind: 'endlessAnswer' },
      { type: 'malformed', problem: expect.anything() },
    ],
    [
      'with a datagram that is too large, it is malformed',
      { kind: 'garbledAnswer', form: 'oversized' },
      { type: 'malformed', problem: expect.stringContaining('more than 524') },
    ],
  ])('what is answered %s', (_, fault, answer) =>
    withConsole(fault, (console) => {
      expect(console.ask('version', answer === null ? 300 : patientMs).answer).toEqual(answer);
      // What came to the socket of one request is no answer to the next.
      expect(console.ask('go', patientMs).answer).toMatchObject({ type: 'refused', text: 'Not stopped' });
    }),
  );

  test('an answer that nobody waits for any more is heard when the event loop runs again', () =>
    withConsole({ kind: 'delayAnswer', delayMs: 300 }, async (console) => {
      expect(console.ask('version', 20).answer).toBeNull();
      let late: unknown;
      console.hearLate('version', (answer) => {
        late = answer;
      });
      await waitFor('it', () => late);
      expect(late).toEqual(ok);
    }));

  test('a console that is dead, or whose queue is full, is told at once as what it is', () =>
    withOwnGuest({}, async (other, guest) => {
      const console = await BlockingConsole.open(guest.socketPath);
      try {
        process.kill(guest.pid, 'SIGSTOP');
        fillQueue(other);
        expect(console.send('version').answer).toEqual({ type: 'full' });
        expect(console.ask('version', 20).answer).toEqual({ type: 'full' });
        process.kill(guest.pid, 'SIGCONT');
        expect(console.ask('version', patientMs).answer).toEqual(ok);
        await other.request('version', patient);
        await guest.stop();
        expect(console.ask('version', patientMs).answer).toEqual({ type: 'dead' });
      } finally {
        console.close();
      }
    }));
});

test('nothing is left of it when it is closed, used sockets or not', () =>
  withConsole(null, async (console, guest) => {
    vi.stubEnv('XDG_RUNTIME_DIR', dirname(guest.socketPath));
    const other = await BlockingConsole.open(guest.socketPath);
    const [ours = 'none'] = readdirSync(dirname(guest.socketPath)).filter((name) => /^umlsnap-/.test(name));
    const place = `${dirname(guest.socketPath)}/${ours}`;
    other.bindAhead(3);
    other.ask('version', patientMs);
    expect(readdirSync(place)).toHaveLength(3);
    other.forget();
    await waitFor('the used one to go', () => readdirSync(place).length === 2);
    other.close();
    expect(existsSync(place)).toBe(false);
    expect(console.ask('version', patientMs).answer).toEqual(ok);
  }));
