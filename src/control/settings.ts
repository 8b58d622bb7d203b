import { UmlsnapError } from '../errors.js';

/** What can be changed of a daemon while it runs: the four of kerneld(8); docs/requests.md holds the two side by side. */
export interface Settings {
  /** Says what it does as it does it. */
  debug: boolean;
  /** Ignores every request, and every timer, to remove snapshots. */
  keep: boolean;
  /** Between two sweeps of expired snapshots. */
  delaySeconds: number;
  /** Which requests are listened to; see `listensTo`. */
  type: number;
}

export const defaultSettings: Settings = { debug: false, keep: false, delaySeconds: 60, type: -255 };

/** The longest that a timer of Node's can wait. */
export const longestDelaySeconds = 2_147_483;
export const largestType = 0x7fffffff;

/**
 * Settings as kerneld and kdstat take them: `debug nodebug keep nokeep delay=30 type=-3`. Later words win.
 * @throws Usage for any other word; kerneld passed over it, and `delay=x` was 0 to it
 */
export function parseSettings(words: readonly string[]): Partial<Settings> {
  return Object.assign({}, ...words.map(parseWord));
}

function parseWord(word: string): Partial<Settings> {
  if (word === 'debug' || word === 'nodebug') return { debug: word === 'debug' };
  if (word === 'keep' || word === 'nokeep') return { keep: word === 'keep' };
  const [, key, digits] = /^(delay|type)=(-?\d{1,10})$/.exec(word) ?? [];
  const value = Number(digits);
  if (key === 'delay' && value >= 1 && value <= longestDelaySeconds) return { delaySeconds: value };
  if (key === 'type' && Math.abs(value) <= largestType) return { type: value };
  const problem = `${word}: choose from debug, nodebug, keep, nokeep, delay=SECONDS (1 to ${longestDelaySeconds}) and type=NUMBER.`;
  throw new UmlsnapError('Usage', { problem });
}

/**
 * Whether requests of this number are listened to, as msgrcv(2) chooses messages for a kerneld: a positive type stands for
 * itself only, a negative one for all up to its absolute value, and 0 for all.
 */
export function listensTo({ type }: Pick<Settings, 'type'>, number: number): boolean {
  if (type === 0) return true;
  return type > 0 ? number === type : number <= -type;
}

/** `delay=60, nokeep, nodebug, type=-255`, in the order and the words of kdstat. */
export function formatSettings({ debug, keep, delaySeconds, type }: Settings): string {
  return `delay=${delaySeconds}, ${keep ? '' : 'no'}keep, ${debug ? '' : 'no'}debug, type=${type}`;
}

/** The settings of a daemon that runs, and whoever has to know of a change. */
export class LiveSettings {
  #current: Settings;
  readonly #watchers: ((now: Settings, before: Settings) => void)[] = [];

  constructor(changes: Partial<Settings>) {
    this.#current = { ...defaultSettings, ...changes };
  }

  get current(): Readonly<Settings> {
    return this.#current;
  }

  change(changes: Partial<Settings>): Settings {
    const before = this.#current;
    this.#current = { ...before, ...changes };
    for (const tell of this.#watchers) tell(this.#current, before);
    return this.#current;
  }

  watch(tell: (now: Settings, before: Settings) => void): void {
    this.#watchers.push(tell);
  }
}
