import { setTimeout as sleep } from 'node:timers/promises';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import type { GuestEventRecord } from '../history/records.js';
import { requireKnownGuest } from '../job/known-guest.js';
import { printableLine } from '../mconsole/printable.js';
import { emit, tell } from '../output.js';
import { withStartedApp } from '../start.js';
import { type Context, configOf } from './context.js';
import { formatTime } from './format.js';
import { withInterrupt } from './interrupt.js';
import { limitOf } from './limit.js';

const lookEveryMs = 300;
/** More than come between two looks, of all guests together. */
const maxPerLook = 10_000;

/** `umlsnap events [GUEST] [--follow]`: what guests said by themselves, oldest first. Also of guests that the config no longer has. */
export async function eventsVerb(
  context: Context,
  guest: string | undefined,
  { limit: text, follow = false }: { limit: string; follow?: boolean },
): Promise<ExitCode> {
  const limit = limitOf(text);
  const config = await configOf(context);
  const of = guest === undefined ? {} : { guest };
  return await withStartedApp(config, async ({ history, stores }) => {
    /** @returns the number of the last one; undefined when there was none */
    const show = async (which: { limit: number; after?: number }) => {
      const events = await history.events({ ...of, ...which });
      for (const event of events) print(context, event);
      return events.at(-1)?.number;
    };
    if (!follow) {
      if ((await show({ limit })) !== undefined) return exitCodes.done;
      if (guest !== undefined) await requireKnownGuest(guest, { config, history, stores });
      tell(context.output, 'No events yet.');
      return exitCodes.done;
    }
    const nothingToUndo = () => {};
    // From before the first line on, until somebody has seen enough, which is no failure.
    await withInterrupt(async (signal) => {
      for (let after = (await show({ limit })) ?? 0; !signal.aborted; ) {
        after = (await show({ after, limit: maxPerLook })) ?? after;
        await sleep(lookEveryMs, undefined, { signal }).catch(() => {});
      }
    }, nothingToUndo);
    return exitCodes.done;
  });
}

function print({ output }: Context, event: GuestEventRecord): void {
  emit(output, { ...event, type: 'event', event: event.type });
  const missed = event.missed > 0 ? `  (${event.missed} more before it were too fast to be kept)` : '';
  const { at, guest, type, text } = event;
  tell(output, `${formatTime(at)}  ${guest}  ${type}  ${printableLine(text)}${missed}`);
}
