/** One read for all who ask at the same time, or shortly after. */
export class CachedRead<T> {
  readonly #read: () => Promise<T>;
  readonly #keepMs: number;
  #current: { result: Promise<T>; untilMs: number } | undefined;

  constructor(read: () => Promise<T>, keepMs: number) {
    this.#read = read;
    this.#keepMs = keepMs;
  }

  get(): Promise<T> {
    const now = performance.now();
    if (this.#current && now < this.#current.untilMs) return this.#current.result;
    const current = { result: this.#read(), untilMs: Number.POSITIVE_INFINITY };
    this.#current = current;
    const settle = () => {
      current.untilMs = performance.now() + this.#keepMs;
    };
    current.result.then(settle, () => this.forget());
    return current.result;
  }

  /** What was read is not true any more. */
  forget(): void {
    this.#current = undefined;
  }
}
