import type { GuestConfig } from '../config/config.js';
import type { NotFrozenCause } from '../errors.js';
import { type Finding, fine, trouble } from './finding.js';

/** An agent, or why none has answered; `notAsked` where a daemon listens to the guest and knows no more. */
export type AgentLook = { cause: 'ready' | 'notAsked' | NotFrozenCause; detail: string };

type Missing = { what: (detail: string) => string; mend: string };

const missing: Partial<Record<AgentLook['cause'], Missing>> = {
  notBootedWithNotify: {
    what: (socket) => `Was not booted with mconsole=notify:${socket}, so that no agent could answer.`,
    mend: 'docs/agent.md: put `umlsnap agent` into the guest, and boot it with that.',
  },
  notifiesElsewhere: {
    what: (socket) => `Notifies ${socket}, and the config has another path.`,
    mend: 'Set `notify:` of the guest to that path, or boot it with the one of the config.',
  },
  socketUnusable: {
    what: (problem) => `Its notify socket can't be used: ${problem}`,
    mend: 'Set `notify:` to a path that the user of the guest can get to (docs/agent.md).',
  },
  noAgent: {
    what: (waited) => `Was booted to have an agent, and none answers (waited ${waited}).`,
    mend: 'In the guest: is umlsnap-agent installed and started? `umlsnap agent` tells how.',
  },
  agentTooNew: {
    what: () => 'Its agent is newer than this umlsnap.',
    mend: 'Install the newer umlsnap on the host, or `umlsnap agent` of this one in the guest.',
  },
};

/** Whether the agent in a guest answers, in a version that we understand. */
export function checkAgent({ name, require }: GuestConfig, { cause, detail }: AgentLook): Finding {
  const about = { check: 'agent', about: name } as const;
  const facts = { cause, detail };
  if (cause === 'ready') return fine(about, 'Its agent answers, by the protocol of this umlsnap.', facts);
  if (cause === 'off') return fine(about, 'The config wants no agent.', facts);
  const known = missing[cause];
  const isRequired = require === 'frozen';
  if (!known) {
    return trouble(about, {
      level: 'unknown',
      what: 'Whether it has an agent is not known now.',
      means: 'Its snapshots may be `frozen`, or `synced` at best.',
      mend: 'Run `umlsnap doctor` again when nobody works on the guest.',
      facts,
    });
  }
  // Most guests have none, and are backed up soundly: that is a choice, as long as nothing asks for more.
  if (cause === 'notBootedWithNotify' && !isRequired) {
    return fine(about, 'Has no agent: its snapshots are `synced` at best.', facts);
  }
  return trouble(about, {
    level: isRequired ? 'critical' : 'warning',
    what: known.what(detail),
    means: isRequired
      ? 'The config requires `frozen`: its backups fail.'
      : 'Its snapshots are `synced` at best, with a warning each time.',
    mend: known.mend,
    facts,
  });
}
