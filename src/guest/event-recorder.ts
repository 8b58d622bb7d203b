import type { GuestEvent, GuestEventType } from '../history/records.js';
import type { Notification } from '../mconsole/notification.js';
import { type Bucket, fullBucket, type Rate, takeToken } from '../token-bucket.js';
import { parseAnswer } from './agent/agent-messages.js';

export interface EventLedger {
  recordEvent(event: GuestEvent): Promise<void>;
}

/** Of each type. What comes faster is counted, not kept. */
const rate: Rate = { burst: 20, refillMs: 3000 };

/** Writes down what one guest says by itself, all but what its agent answers us: that is in the record of the job. */
export class EventRecorder {
  readonly #guest: string;
  readonly #ledger: EventLedger;
  readonly #onFailure: (error: unknown) => void;
  readonly #byType = new Map<GuestEventType, { bucket: Bucket; missed: number }>();
  #written: Promise<void> = Promise.resolve();

  /** @param onFailure told when the ledger could not take an event, which is then lost */
  constructor(guest: string, ledger: EventLedger, onFailure: (error: unknown) => void) {
    this.#guest = guest;
    this.#ledger = ledger;
    this.#onFailure = onFailure;
  }

  /** @returns whether it is written down */
  take(notification: Notification): boolean {
    const { type } = notification;
    if (type === 'message' && parseAnswer(notification.text) !== undefined) return false;
    const nowMs = performance.now();
    const before = this.#byType.get(type) ?? { bucket: fullBucket(rate, nowMs), missed: 0 };
    const { taken, bucket } = takeToken(rate, before.bucket, nowMs);
    this.#byType.set(type, { bucket, missed: taken ? 0 : before.missed + 1 });
    if (!taken) return false;
    const text = type === 'booted' ? notification.socketPath : notification.text.trimEnd();
    const event = { at: new Date().toISOString(), guest: this.#guest, type, text, missed: before.missed };
    // One after another, in their order.
    this.#written = this.#written.then(() => this.#ledger.recordEvent(event)).catch(this.#onFailure);
    return true;
  }

  /** Until all that was taken is written, or could not be. */
  settled(): Promise<void> {
    return this.#written;
  }
}
