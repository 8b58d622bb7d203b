import type { AlertKind } from '../config/alert-config.js';

/** Something that somebody has to know of. */
export interface Alert {
  kind: AlertKind;
  /** null: it is about a store, not about one guest. */
  guest: string | null;
  /** null: no job of ours is behind it. */
  job: string | null;
  /** ISO 8601. */
  at: string;
  /** One line, printable. */
  subject: string;
  /** What happened, what state the guest is in, what to do. */
  text: string;
}
