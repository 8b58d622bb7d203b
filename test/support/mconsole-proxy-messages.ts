/** What a test and the process of its proxy say to each other. */

export type What = 'request' | 'answer';

/** A message of a command that is not passed on as it comes. */
export interface Rule {
  command: string;
  what: What;
  /**
   * `hold` keeps it until a release; `drop` loses it; `answer` is of a request, and answers it in the guest's place; `pass`
   * keeps those that come first from a rule after it.
   */
  act: 'hold' | 'drop' | 'answer' | 'pass';
  /** The next so many messages; all of them when absent. */
  times?: number;
  /** What an `answer` says. */
  text?: string;
}

export interface ProxyEvent {
  what: What;
  /** The request's text, `sysrq s`; for an answer that of its request. */
  command: string;
  /** When it was passed on, in ms of the monotonic clock; of a message that never was, when it came. */
  atMs: number;
  passedOn: boolean;
  /** Of an answer: its error code and its text. */
  err?: number;
  text?: string;
}

/** A further rule, or the command whose messages are released; neither only asks. */
export type Order = { rule: Rule } | { release: string } | 'look';

/** The answer to each order. */
export interface ProxyState {
  /** Since the last one. */
  events: ProxyEvent[];
  held: Pick<ProxyEvent, 'what' | 'command'>[];
}
