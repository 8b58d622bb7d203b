import type { FoundCopy, PassedOver } from '../copies/find-copy.js';

/** The first line of whoever reads a snapshot: its full name, where it comes from, and why not from a store before that one. */
export function copyLine({ store, stored, passedOver, soundness }: FoundCopy): string {
  const line = copyText({ snapshot: stored.snapshot, store: store.name, passedOver });
  return soundness.type === 'sound' ? line : `${line}: ${soundness.why}`;
}

/** `web@20261130T031500Z from archive (local: damaged)` */
export function copyText(of: { snapshot: string; store: string; passedOver: PassedOver[] }): string {
  const why = of.passedOver.map(({ store, why: reason }) => `${store}: ${reason}`).join(', ');
  return `${of.snapshot} from ${of.store}${why === '' ? '' : ` (${why})`}`;
}
