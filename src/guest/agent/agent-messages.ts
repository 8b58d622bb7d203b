import { printableLine } from '../../mconsole/printable.js';

/** What the host and the agent in a guest say to each other: see the script `umlsnap-agent` beside this file. */

export type AgentOrder =
  | { order: 'ping'; nonce: string }
  | { order: 'freeze'; nonce: string; run: string; job: string; limitSeconds: number; timerSeconds: number }
  /** Only to a snapshot that was booted to prove it. */
  | { order: 'drill'; nonce: string; run: string; limitSeconds: number }
  /** `of` is the nonce of the freeze that is to end. */
  | { order: 'thaw'; nonce: string; run: string; of: string };

/** Each answers the order whose nonce it carries. All of it is a guest's word. */
export type AgentAnswer =
  /** `run` names this run of the agent: it obeys no order that names another one. */
  | { said: 'pong'; nonce: string; run: string }
  | { said: 'frozen'; nonce: string; filesystems: string[] }
  | { said: 'refused'; nonce: string; refusal: AgentRefusal }
  /** Was every filesystem frozen until then? `unknown`: it was started anew, and knows nothing of this freeze. */
  | { said: 'thawed'; nonce: string; held: 'yes' | 'no' | 'unknown' }
  /** After the hooks that follow a thaw; null when all of them succeeded. */
  | { said: 'after'; nonce: string; failed: FailedHook | null }
  /** After the hooks of a drill: how many have run, all with success, or the first that has not. */
  | { said: 'drilled'; nonce: string; outcome: { ran: number } | { failed: FailedHook } }
  /** The guest's own timer has ended the freeze of this nonce. */
  | { said: 'timer'; nonce: string }
  | { said: 'tooNew'; nonce: string };

export interface FailedHook {
  hook: string;
  /** `late`: it overran its time and was killed. */
  exit: number | 'late';
  /** The first line that it printed. */
  text: string;
}

export type AgentRefusal =
  | ({ why: 'hook' } & FailedHook)
  | { why: 'filesystem'; text: string }
  | { why: 'late'; text: string };

const protocol = 1;
const prefix = `umlsnap agent ${protocol} `;

/** The line of the guest's kernel log that carries an order; at most 300 bytes, so it fits into one request. */
export function formatOrder(order: AgentOrder): string {
  const { nonce } = order;
  switch (order.order) {
    case 'ping':
      return `${prefix}ping nonce=${nonce}`;
    case 'freeze':
      return `${prefix}freeze nonce=${nonce} run=${order.run} job=${order.job} limit=${order.limitSeconds} timer=${order.timerSeconds}`;
    case 'drill':
      return `${prefix}drill nonce=${nonce} run=${order.run} limit=${order.limitSeconds}`;
    case 'thaw':
      return `${prefix}thaw nonce=${nonce} run=${order.run} of=${order.of}`;
  }
}

/** @returns undefined for what is no answer of an agent */
export function parseAnswer(message: string): AgentAnswer | undefined {
  const line = printableLine(message);
  const [, spoken, said, nonce, rest = ''] =
    /^umlsnap agent (\d{1,4}) ([a-z]+) nonce=([A-Za-z0-9-]{1,64})(?: (.*))?$/.exec(line) ?? [];
  if (spoken === undefined || said === undefined || nonce === undefined) return undefined;
  if (Number(spoken) > protocol) return { said: 'tooNew', nonce };
  return Number(spoken) === protocol ? answerOf(said, nonce, rest) : undefined;
}

function answerOf(said: string, nonce: string, rest: string): AgentAnswer | undefined {
  switch (said) {
    case 'pong': {
      const run = /^run=([A-Za-z0-9-]{8,64})$/.exec(rest)?.[1];
      return run === undefined ? undefined : { said, nonce, run };
    }
    case 'frozen': {
      const names = /^at=(.*)$/.exec(rest)?.[1];
      return names === undefined ? undefined : { said, nonce, filesystems: names.split(',').filter(Boolean) };
    }
    case 'thawed': {
      const held = (['yes', 'no', 'unknown'] as const).find((word) => rest === `held=${word}`);
      return held && { said, nonce, held };
    }
    case 'after': {
      const failed = rest === 'ok=yes' ? null : failedHookOf(rest);
      return failed === undefined ? undefined : { said, nonce, failed };
    }
    case 'drilled': {
      const ran = /^ok=(\d{1,5})$/.exec(rest)?.[1];
      if (ran !== undefined) return { said, nonce, outcome: { ran: Number(ran) } };
      const failed = failedHookOf(rest);
      return failed && { said, nonce, outcome: { failed } };
    }
    case 'timer':
      return { said, nonce };
    case 'refused': {
      const refusal = refusalOf(rest);
      return refusal && { said, nonce, refusal };
    }
    default:
      return undefined;
  }
}

function refusalOf(rest: string): AgentRefusal | undefined {
  const [, why, details = ''] = /^why=(hook|filesystem|late) (.*)$/.exec(rest) ?? [];
  if (why === 'hook') {
    const failed = failedHookOf(details);
    return failed && { why, ...failed };
  }
  const text = /^text=(.*)$/.exec(details)?.[1];
  return (why === 'filesystem' || why === 'late') && text !== undefined ? { why, text } : undefined;
}

function failedHookOf(details: string): FailedHook | undefined {
  const [, hook, exit, text = ''] =
    /^hook=(.{1,128}?) exit=(\d{1,3}|late) text=(.*)$/.exec(`${details} `) ?? [];
  if (hook === undefined || exit === undefined) return undefined;
  return { hook, exit: exit === 'late' ? exit : Number(exit), text: text.trim() };
}
