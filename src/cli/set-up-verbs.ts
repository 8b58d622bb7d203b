import type { Command } from 'commander';
import type { ExitCode } from '../exit-codes.js';
import type { Context } from './context.js';

type Run = (verb: (context: Context) => Promise<ExitCode>) => Promise<void>;

/** The verbs for whoever sets umlsnap up, or looks why it does not work. */
export function addSetUpVerbs(program: Command, run: Run): void {
  program
    .command('doctor [guest]')
    .description('whether backups will work here, what is in their way, and how to mend it')
    .option('--nagios', 'as a monitoring plugin: one line, its exit code, and no guest is stopped')
    .option('--no-stop-go', 'do not stop each guest twice for a moment')
    .action((guest: string | undefined, options: { nagios?: boolean; stopGo: boolean }) =>
      run(async (context) => (await import('./doctor.js')).doctorVerb(context, guest, options)),
    );
  const config = program.command('config').description('the config file');
  config
    .command('check')
    .description('tell every problem of the config, or what it comes to; with -v all of it')
    .action(() => run(async (context) => (await import('./config-check.js')).configCheckVerb(context)));
  config
    .command('init')
    .description('a config for the guests that run on this host, with comments')
    .option('--write <file>', 'into this file, which must not be there yet, instead of stdout')
    .action((options: { write?: string }) =>
      run(async (context) => (await import('./config-init.js')).configInitVerb(context, options)),
    );
  program
    .command('store')
    .description('the stores of the config')
    .command('moved <store>')
    .description('whether what lies at the place of a store is the one that the history remembers')
    .option('--yes', 'it is to be the store from now on, though it is another one or empty')
    .action((store: string, options: { yes?: boolean }) =>
      run(async (context) => (await import('./store-moved.js')).storeMovedVerb(context, store, options)),
    );
  program
    .command('completion <shell>')
    .description('what bash, zsh or fish reads to complete this command line')
    .action((shell: string) =>
      run(async () => (await import('./completion.js')).completionVerb(program, shell)),
    );
  program
    .command('__complete <kind>', { hidden: true })
    .action((kind: string) =>
      run(async (context) => (await import('./completion.js')).completeVerb(context, kind)),
    );
  program
    .command('__manual', { hidden: true })
    .action(() => run(async () => (await import('./manual.js')).manualVerb(program)));
}
