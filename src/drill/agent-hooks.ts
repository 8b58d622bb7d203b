import type { MconsoleClient } from '../mconsole/mconsole-client.js';
import type { NotificationSource } from '../mconsole/notify-listener.js';
import type { Accident } from './accident.js';

export async function runDrillHooks(
  _client: MconsoleClient,
  _notifications: NotificationSource,
  _limitMs: number,
  _signal: AbortSignal,
): Promise<Accident | null> {
  return { failure: 'agentSilent', detail: '' };
}
