import { formatDuration } from '../config/duration.js';
import { shownConfig, withoutSecrets, writtenConfig } from '../config/shown-config.js';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { emit, tell } from '../output.js';
import { type Context, configOf } from './context.js';

/** `umlsnap config check`: every problem of the config at once, or what it comes to; with -v all of it, as a config that has every default. */
export async function configCheckVerb(context: Context): Promise<ExitCode> {
  const config = await configOf(context);
  emit(context.output, {
    ...{ type: 'summary', kind: 'config', file: config.file },
    config: withoutSecrets(writtenConfig(config)),
  });
  if (context.options.verbose) {
    tell(context.output, shownConfig(config).trimEnd());
    return exitCodes.done;
  }
  tell(context.output, `${config.file} is in order. State in ${config.state}.`);
  for (const { from, to } of config.links) tell(context.output, `  ${from} is a link, and stands for ${to}`);
  for (const guest of Object.values(config.guests)) {
    const schedule = guest.schedule === undefined ? 'by hand only' : `${guest.schedule} (${guest.timezone})`;
    const disks = guest.disks.map(({ device, path }) => `${device}=${path}`).join(' ');
    const budget = `pause at most ${formatDuration(guest.pauseBudgetMs)}`;
    const least = guest.require === 'crash' ? '' : `, ${guest.require} or no snapshot`;
    tell(
      context.output,
      `  ${guest.name}: ${disks}, store ${[guest.store, ...guest.otherStores].join(' + ')}, ${schedule}, ${budget}${least}`,
    );
  }
  return exitCodes.done;
}
