import type { FastifyInstance, FastifyRequest } from 'fastify';
import { UmlsnapError } from '../../errors.js';
import type { PendingAction } from '../pending-actions.js';
import type { HttpAuth, RouteParts } from './http-auth.js';

/** What changes something: forms, which work without a script. */

export function addButtons(scope: FastifyInstance, auth: HttpAuth, { dashboard }: RouteParts): void {
  type Pressed = FastifyRequest<{ Params: Record<string, string>; Body: unknown }>;
  /** @param press gives where to go then, from the first page on */
  const button = (path: string, press: (request: Pressed) => Promise<string>) =>
    scope.post<{ Params: Record<string, string>; Body: unknown }>(path, async (request, reply) => {
      auth.requireForm(request);
      return await reply.redirect(auth.pathFor(request) + (await press(request)), 303);
    });
  const { actions } = dashboard;
  const guestPath = (guest: string, { id }: PendingAction) =>
    `guests/${encodeURIComponent(guest)}?action=${id}`;
  button('/guests/:guest/snapshot', async (request) => {
    const { guest = '' } = request.params;
    dashboard.requireGuest(guest);
    const command = { type: 'snapshot', guest, options: {} } as const;
    return guestPath(guest, await actions.ask(`A snapshot of ${guest}`, command, auth.requester(request)));
  });
  for (const type of ['verify', 'drill'] as const) {
    button(`/snapshots/:snapshot/${type}`, async (request) => {
      const { snapshot, guest } = snapshotIn(request.params.snapshot);
      dashboard.requireGuest(guest);
      const what = `${type === 'verify' ? 'A verification' : 'A drill'} of ${snapshot}`;
      const command = type === 'verify' ? { type, snapshot } : { type, snapshot };
      return guestPath(guest, await actions.ask(what, command, auth.requester(request)));
    });
  }
  for (const pinned of [true, false]) {
    button(`/snapshots/:snapshot/${pinned ? 'pin' : 'unpin'}`, async (request) => {
      const { snapshot, guest } = snapshotIn(request.params.snapshot);
      dashboard.requireGuest(guest);
      const action = await actions.run(`${pinned ? 'Pinning' : 'Unpinning'} ${snapshot}`, async () => {
        await dashboard.pin(snapshot, pinned);
        return { is: 'done', text: 'is done' };
      });
      return guestPath(guest, action);
    });
  }
  button('/jobs/:job/cancel', async ({ params: { job = '' } }) => {
    dashboard.cancel(job);
    return `jobs/${encodeURIComponent(job)}`;
  });
}

/** @throws NoSuchSnapshot for what can't be the name of one */
function snapshotIn(name = ''): { snapshot: string; guest: string } {
  const [, guest] = /^([A-Za-z0-9][A-Za-z0-9_-]{0,62})@\d{8}T\d{6}Z$/.exec(name) ?? [];
  if (guest === undefined) throw new UmlsnapError('NoSuchSnapshot', { snapshot: name });
  return { snapshot: name, guest };
}
