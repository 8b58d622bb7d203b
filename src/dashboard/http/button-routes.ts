import type { FastifyInstance, FastifyRequest } from 'fastify';
import { UmlsnapError } from '../../errors.js';
import type { Errand } from '../errands.js';
import type { FrontDesk, RouteParts } from './front-desk.js';

/** What changes something: forms, which work without a script. */

export function addButtons(scope: FastifyInstance, desk: FrontDesk, { dashboard }: RouteParts): void {
  type Pressed = FastifyRequest<{ Params: Record<string, string>; Body: unknown }>;
  /** @param press gives where to go then, from the first page on */
  const button = (path: string, press: (request: Pressed) => Promise<string>) =>
    scope.post<{ Params: Record<string, string>; Body: unknown }>(path, async (request, reply) => {
      desk.requireForm(request);
      return await reply.redirect(desk.pathFor(request) + (await press(request)), 303);
    });
  const { errands } = dashboard;
  const guestPath = (guest: string, { id }: Errand) => `guests/${encodeURIComponent(guest)}?errand=${id}`;
  button('/guests/:guest/snapshot', async (request) => {
    const { guest = '' } = request.params;
    dashboard.requireGuest(guest);
    const demand = { type: 'snapshot', guest, options: {} } as const;
    return guestPath(guest, await errands.ask(`A snapshot of ${guest}`, demand, desk.requester(request)));
  });
  for (const type of ['verify', 'drill'] as const) {
    button(`/snapshots/:snapshot/${type}`, async (request) => {
      const { snapshot, guest } = snapshotIn(request.params.snapshot);
      dashboard.requireGuest(guest);
      const what = `${type === 'verify' ? 'A verification' : 'A drill'} of ${snapshot}`;
      const demand = type === 'verify' ? { type, snapshot } : { type, snapshot };
      return guestPath(guest, await errands.ask(what, demand, desk.requester(request)));
    });
  }
  for (const pinned of [true, false]) {
    button(`/snapshots/:snapshot/${pinned ? 'pin' : 'unpin'}`, async (request) => {
      const { snapshot, guest } = snapshotIn(request.params.snapshot);
      dashboard.requireGuest(guest);
      const errand = await errands.run(`${pinned ? 'Pinning' : 'Unpinning'} ${snapshot}`, async () => {
        await dashboard.pin(snapshot, pinned);
        return { is: 'done', text: 'is done' };
      });
      return guestPath(guest, errand);
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
