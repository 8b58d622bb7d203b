import { recover } from '../../jobs/recover.js';
import { isError, UmlsnapError } from '../errors.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { emit, tell, warn } from '../output.js';
import { withStartedApp } from '../start.js';
import type { Store } from '../store/store.js';
import { type Context, configOf } from './context.js';

/**
 * `umlsnap store moved STORE [--yes]`: whether what lies at the store's place now is the store that the history remembers, which its marker
 * says wherever it was moved to; and with --yes, that it is the store from now on, whatever it was.
 */
export async function storeMovedVerb(
  context: Context,
  name: string,
  { yes = false }: { yes?: boolean },
): Promise<ExitCode> {
  const config = await configOf(context);
  return await withStartedApp(config, async (app, recovered) => {
    const { history, stores, stateDirectory, scratchPlaces } = app;
    const store = stores.find((one) => one.name === name);
    if (!store) throw new UmlsnapError('NoSuchStore', { store: name, known: Object.keys(config.stores) });
    const { path } = store;
    const known = await history.storeId(name);
    const problem = await whyAnother(store, known);
    if (problem === null) {
      emit(context.output, {
        type: 'summary',
        kind: 'storeMoved',
        store: name,
        path,
        id: known,
        isNew: false,
      });
      const whole =
        known === null ? 'was never used: the next job takes what is there' : 'is there, by its marker';
      tell(context.output, `Store ${name} at ${path} ${whole}. Nothing is to be done.`);
      return exitCodes.done;
    }
    if (!yes) throw new UmlsnapError('StoreReplaced', { store: name, path, problem });
    // The marker MUST be durable before the history knows of it: an id that is known has a store that carries it.
    const { id } = await store.prepare(null);
    await history.rememberStore(name, id);
    await recover(
      { history, stateDirectory, stores: [store], scratchPlaces, guests: Object.keys(config.guests) },
      recovered,
    );
    const { indexed, forgotten, problems } = recovered;
    emit(context.output, {
      ...{ type: 'summary', kind: 'storeMoved', store: name, path, id, isNew: true, indexed, forgotten },
    });
    tell(context.output, `Store ${name} is what lies at ${path} from now on (${id}).`);
    for (const snapshot of forgotten) tell(context.output, `It does not have ${snapshot}.`);
    for (const one of problems) warn(`warning: ${one}`);
    return problems.length > 0 ? exitCodes.warnings : exitCodes.done;
  });
}

/** null: it is the one that is known, or none is. */
async function whyAnother(store: Store, known: string | null): Promise<string | null> {
  try {
    await store.isMounted(known);
    return null;
  } catch (error) {
    if (!isError(error, 'StoreNotMounted')) throw error;
    return error.facts.problem;
  }
}
