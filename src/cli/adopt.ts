import { adopt, findAdoptable, whose } from '../../jobs/adopt.js';
import { type App, waitsFor } from '../compose.js';
import { countText } from '../error-text.js';
import { UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { emit, reportSummary, tell } from '../output.js';
import { withStartedApp } from '../start.js';
import type { Store } from '../store/store.js';
import { confirm } from './confirm.js';
import { type Context, configOf } from './context.js';

export interface AdoptOptions {
  guest?: string;
  store?: string;
  yes?: boolean;
}

/** `umlsnap adopt HOST`: makes the snapshots of a host that is gone our own, in every store that has them. */
export async function adoptVerb(context: Context, of: string, options: AdoptOptions): Promise<ExitCode> {
  const config = await configOf(context);
  const { output } = context;
  return await withStartedApp(config, async (app) => {
    const { history, stateDirectory } = app;
    const around = { history, stateDirectory, stores: storesNamed(app, options.store) };
    const request = { of, ...(options.guest !== undefined && { guest: options.guest }) };
    const adoptable = await findAdoptable(request, around);
    for (const { store, stored, ownership } of adoptable.found)
      tell(output, `${stored.snapshot} in store ${store.name} is of ${whose(ownership)}.`);
    const many = countText(adoptable.found.length, 'snapshot');
    const question = `Make ${many} our own, to be kept and removed by our rules?`;
    if (!(await confirm(question, options))) {
      tell(output, 'Nothing was changed.');
      return exitCodes.done;
    }
    const summary = await adopt(request, adoptable, around, ({ snapshot, store }) => {
      emit(output, { type: 'adopted', snapshot, store });
      tell(output, `${snapshot} in store ${store} is ours now.`);
    });
    return reportSummary(output, summary);
  });
}

/** With the directory in which snapshots wait for it. @throws NoSuchStore */
function storesNamed({ stores }: App, name: string | undefined): Store[] {
  if (name === undefined) return stores;
  const named = stores.filter((store) => store.name === name || waitsFor(store) === name);
  const known = stores.filter((store) => waitsFor(store) === undefined).map((store) => store.name);
  if (named.length === 0) throw new UmlsnapError('NoSuchStore', { store: name, known });
  return named;
}
