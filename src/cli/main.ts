#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { type ExitCode, exitCodes } from '../exit-codes.js';
import { emit, reportError } from '../output.js';
import { version } from '../version.js';
import { type Context, contextOf, type GlobalOptions } from './context.js';
import { addSetUpVerbs } from './set-up-verbs.js';

/**
 * The command line. Verbs are loaded when they are called: each brings libraries that take their time (kysely, zod).
 */
function buildProgram(finish: (code: ExitCode) => void): Command {
  const program = new Command('umlsnap')
    .description('Backs up running User-Mode Linux guests: sync, stop, copy, go, and proof of each.')
    .version(version)
    .option(
      '-c, --config <file>',
      'config file (default: $UMLSNAP_CONFIG, ~/.config/umlsnap/config.yaml, /etc/umlsnap/config.yaml)',
    )
    .option('--json', 'one JSON object per line on stdout')
    .option('-q, --quiet', 'say nothing but what went wrong')
    .option('-v, --verbose', 'say more')
    .showHelpAfterError('(umlsnap --help tells what there is, umlsnap VERB --help of one verb.)')
    .exitOverride();
  const run = async (verb: (context: Context) => Promise<ExitCode>) => {
    const context = contextOf(program.opts<GlobalOptions>());
    try {
      finish(await verb(context));
    } catch (error) {
      finish(reportError(context.output, error));
    }
  };
  addSnapshotVerbs(program, run);
  addArchiveVerbs(program, run);
  addAdoptVerb(program, run);
  addReadingVerbs(program, run);
  addLookingVerbs(program, run);
  addOtherVerbs(program, run);
  addSetUpVerbs(program, run);
  program.commands.forEach(refuseTwice);
  return program;
}

/** Of two values for one option, the last would be taken in silence. */
function refuseTwice(verb: Command): void {
  const ofOneValue = verb.options.filter(
    ({ required, parseArg, defaultValue }) =>
      required && parseArg === undefined && defaultValue === undefined,
  );
  for (const option of ofOneValue)
    option.argParser((value: string, before: string | undefined) => {
      if (before !== undefined) throw new InvalidArgumentError('It can be given once.');
      return value;
    });
  verb.commands.forEach(refuseTwice);
}

/** Functions of what is loaded from now on are compiled then, and not when a guest stands still. */
function compileAhead(): void {
  setFlagsFromString('--no-lazy');
}

type Run = (verb: (context: Context) => Promise<ExitCode>) => Promise<void>;
type Options = Record<string, never>;

const fromStore = 'the copy in this store (default: the first sound one, in the order of the config)';

function addSnapshotVerbs(program: Command, run: Run): void {
  const collect = (value: string, before: string[]) => [...before, value];
  program
    .command('snapshot <guest>')
    .description('back a guest up now')
    .option('--budget <duration>', 'the longest that the guest may stand still, such as 50ms or 5s')
    .option(
      '--require <level>',
      'weakest consistency that counts as success: frozen, synced or crash (default: the best that can be reached)',
    )
    .option('--capture <method>', 'auto, reflink, precopy or copy')
    .option('--store <name>', 'store to capture into')
    .option('--label <key=value>', 'label of the snapshot; may be repeated', collect, [])
    .option('--pin', 'never remove this snapshot by rule')
    .option('--dry-run', 'check everything and tell what would be done; the guest is not stopped')
    .option('--wait', 'wait while somebody else works on the guest')
    .action((guest: string, options: Options) =>
      run(async (context) => {
        compileAhead();
        return (await import('./snapshot.js')).snapshotVerb(context, guest, options);
      }),
    );
  program
    .command('restore <name>')
    .description("bring a snapshot's disks back; NAME is guest@time or guest@latest")
    .option('--to <directory>', 'into this directory')
    .option(
      '--path <path>',
      'with --to: only this file or directory of a disk with an ext2, ext3 or ext4 filesystem',
    )
    .option('--disk <device>', 'with --path: of this disk (default: ubd0)')
    .option('--in-place', "in the place of the guest's own disks; the guest must be halted")
    .option('--merge', 'with --to: each COW disk as one raw image')
    .option('--keep-replaced', 'with --in-place: keep the disks that were replaced')
    .option('--store <name>', fromStore)
    .action((name: string, options: Options) =>
      run(async (context) => (await import('./restore.js')).restoreVerb(context, name, options)),
    );
  program
    .command('verify [name]')
    .description(
      'read a snapshot again, or all of them, hold them against their checksums and check the filesystems in them',
    )
    .option('--guest <guest>', 'all snapshots of this guest')
    .option('--heal', 'bring copies that are found damaged back from sound ones in other stores')
    .option('--store <name>', fromStore)
    .action((name: string | undefined, options: Options) =>
      run(async (context) => (await import('./verify.js')).verifyVerb(context, name, options)),
    );
  program
    .command('files <name> [path]')
    .description('what a directory of a snapshot holds, on an ext2, ext3 or ext4 filesystem')
    .option('--disk <device>', 'of this disk', 'ubd0')
    .option('--store <name>', fromStore)
    .action((name: string, path: string | undefined, options: Options) =>
      run(async (context) => (await import('./files.js')).filesVerb(context, name, path ?? '/', options)),
    );
  program
    .command('drill <name>')
    .description('boot a snapshot in a box of its own, to prove that it can be booted')
    .option('--store <name>', fromStore)
    .option('--wait', 'wait while another snapshot is drilled')
    .action((name: string, options: Options) =>
      run(async (context) => (await import('./drill.js')).drillVerb(context, name, options)),
    );
  program
    .command('prune [guest]')
    .description('remove expired snapshots by the keep rules, with the reason for each')
    .option('--dry-run', 'only tell')
    .option('--clock-is-right', 'remove also what was held back because the clock seemed wrong')
    .action((guest: string | undefined, options: Options) =>
      run(async (context) => (await import('./prune.js')).pruneVerb(context, guest, options)),
    );
  program
    .command('remove <name>')
    .description('delete a snapshot on purpose, from every store; asks on a terminal')
    .option('--store <name>', 'only from this store')
    .option('--yes', 'do not ask')
    .option('--force', 'also a pinned one, and the last sound one of its guest')
    .action((name: string, options: Options) =>
      run(async (context) => (await import('./remove.js')).removeVerb(context, name, options)),
    );
  for (const pinned of [true, false]) {
    program
      .command(`${pinned ? 'pin' : 'unpin'} <name>`)
      .description(
        pinned ? 'keep a snapshot whatever the rules say' : 'let the rules decide about a snapshot again',
      )
      .action((name: string) =>
        run(async (context) => (await import('./pin.js')).pinVerb(context, name, pinned)),
      );
  }
}

function addArchiveVerbs(program: Command, run: Run): void {
  program
    .command('export <name>')
    .description('write a snapshot as one archive to standard output: umlsnap export NAME > FILE.tar.zst')
    .option('--compression <kind>', 'zstd, gzip or none (default: zstd)')
    .option('--store <name>', fromStore)
    .action((name: string, options: Options) =>
      run(async (context) => (await import('./export.js')).exportVerb(context, name, options)),
    );
  program
    .command('import [file]')
    .description('take a snapshot out of an archive, from a file or standard input, into a directory store')
    .option('--store <name>', 'the store that gets it (default: the first directory of the config)')
    .action((file: string | undefined, options: Options) =>
      run(async (context) => (await import('./import.js')).importVerb(context, file, options)),
    );
}

function addAdoptVerb(program: Command, run: Run): void {
  program
    .command('adopt <host>')
    .description(
      "make the snapshots of a host that is gone our own; HOST is its name, the id of its state, or `unknown` for nobody's",
    )
    .option('--guest <guest>', 'only those of this guest')
    .option('--store <name>', 'only those in this store')
    .option('--yes', 'do not ask')
    .action((host: string, options: Options) =>
      run(async (context) => (await import('./adopt.js')).adoptVerb(context, host, options)),
    );
}

function addReadingVerbs(program: Command, run: Run): void {
  program
    .command('list [guest]')
    .description('snapshots')
    .action((guest?: string) => run(async (context) => (await import('./list.js')).listVerb(context, guest)));
  program
    .command('show <name>')
    .description('one snapshot or one job, with its phases and its log')
    .option('--store <name>', fromStore)
    .option('--definition', 'how the guest was run, with the command that runs it so again')
    .action((name: string, options: Options) =>
      run(async (context) => (await import('./show.js')).showVerb(context, name, options)),
    );
  program
    .command('history [guest]')
    .description('jobs, newest first')
    .option('--limit <number>', 'so many at most', '30')
    .action((guest: string | undefined, options: { limit: string }) =>
      run(async (context) => (await import('./history.js')).historyVerb(context, guest, options)),
    );
}

function addLookingVerbs(program: Command, run: Run): void {
  program
    .command('status')
    .description('the daemon and the guests of the config, now')
    .action(() => run(async (context) => (await import('./status.js')).statusVerb(context)));
  program
    .command('events [guest]')
    .description('what guests said by themselves: booted, panic, hang, and messages; oldest first')
    .option('--limit <number>', 'the newest so many', '30')
    .option('--follow', 'and what they say from now on, until Ctrl-C')
    .action((guest: string | undefined, options: { limit: string; follow?: boolean }) =>
      run(async (context) => (await import('./events.js')).eventsVerb(context, guest, options)),
    );
  program
    .command('discover')
    .description('every UML that runs on this host, in the config or not')
    .action(() => run(async (context) => (await import('./discover.js')).discoverVerb(context)));
  program
    .command('mconsole <guest> [command...]')
    .description(
      "any command of a guest's management console, or without one the console itself; GUEST is a name, a umid or a socket's path",
    )
    .allowUnknownOption()
    .action((guest: string, command: string[]) =>
      run(async (context) => (await import('./mconsole.js')).mconsoleVerb(context, guest, command)),
    );
}

function addOtherVerbs(program: Command, run: Run): void {
  program
    .command('daemon [settings...]')
    .description('run the schedule in the foreground; settings: debug, keep, delay=SECONDS, type=NUMBER')
    .action((settings: string[]) =>
      run(async (context) => {
        compileAhead();
        return (await import('./daemon.js')).daemonVerb(context, settings);
      }),
    );
  program
    .command('ctl [words...]')
    .description(
      'show a running daemon, change its settings ([no]debug, [no]keep, …), or: request TYPE [TEXT]; dashboard [token]',
    )
    .option('--no-answer', 'with request: do not wait for what it comes to')
    .action((words: string[], options: Options) =>
      run(async (context) => (await import('./ctl.js')).ctlVerb(context, words, options)),
    );
  program
    .command('recover')
    .description('resume what we left paused, close what was cut short')
    .action(() => run(async (context) => (await import('./recover.js')).recoverVerb(context)));
  program
    .command('agent')
    .description('print the script that freezes a guest from within, and how to have it started there')
    .option('--install <rootfs>', 'put it into this unpacked root instead')
    .action((options: Options) =>
      run(async (context) => (await import('./agent.js')).agentVerb(context, options)),
    );
}

const lastWordMs = 2000;
async function main(): Promise<ExitCode> {
  let exitCode: ExitCode = exitCodes.done;
  const program = buildProgram((code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync();
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version were asked for; all else is a command line that we did not understand, and people have been told.
    exitCode = error.exitCode === 0 ? exitCodes.done : exitCodes.usage;
    const { output } = contextOf({ json: process.argv.includes('--json') });
    if (error.exitCode !== 0) emit(output, { type: 'error', code: 'Usage', message: error.message });
  }
  return exitCode;
}

// Whoever reads what we print may go away, such as `head`: what is under way goes on all the same.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
process.exitCode = await main();
// By itself, so that SQLite's files are closed: left open, their shared memory stays behind, and ends by SIGBUS whoever
// maps it on a disk that is full by then. But a guest that answers nobody may still be asked to go, by us and without end.
setTimeout(() => process.exit(), lastWordMs).unref();
