import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildAll } from './support/build.js';
import { runCli } from './support/cli.js';
import { ensureDebianPackages } from './support/debian-packages.js';
import { e2fsckReplayed, readFileFromImage } from './support/inspect-image.js';
import { canLoopMount, withLoopFilesystem } from './support/loop-filesystem.js';
import { bootGuest } from './support/real-guest.js';
import { withTempDir } from './support/temp-dir.js';
import { waitFor } from './support/wait-for.js';

/** `npm run demo`: the whole way of a backup on a real guest, from boot to a restored disk that is proven sound. */

const say = (line: string) => process.stdout.write(`${line}\n`);
let steps = 0;
const step = (title: string) => say(`\n${++steps}. ${title}`);

/** Shows a command of umlsnap and what it prints; 3 means done, with warnings. */
async function show(config: string, args: string[]): Promise<Record<string, unknown>[]> {
  say(`   $ umlsnap ${args.filter((arg) => arg !== '--json').join(' ')}`);
  const result = await runCli(['-c', config, ...args]);
  if (!args.includes('--json')) say(result.stdout.trimEnd().replace(/^/gm, '   '));
  if (result.stderr !== '') say(result.stderr.trimEnd().replace(/^/gm, '   '));
  if (result.exitCode !== 0 && result.exitCode !== 3)
    throw new Error(`umlsnap ${args[0]} exited with ${result.exitCode}`);
  return result.json;
}

function require(condition: boolean, claim: string): void {
  if (!condition) throw new Error(`NOT TRUE: ${claim}`);
  say(`   proven: ${claim}`);
}

async function demonstrate(dir: string): Promise<void> {
  step('A real User-Mode Linux guest boots; it appends a line to /data/log 20 times a second');
  const guest = await bootGuest({ dir, umid: 'demo', sizeMiB: 512, fillMiB: 64, writer: 'lines' });
  /** The number of the last line that the guest's writer has written so far. */
  const lastLine = async () => Number((await guest.sh('tail -n 1 /data/log')).replace('line ', ''));
  try {
    const file = join(dir, 'config.yaml');
    const config = {
      state: join(dir, 'state'),
      stores: { local: { type: 'directory', path: join(dir, 'store') } },
      defaults: { keep: { last: 3 } },
      guests: { demo: { mconsole: guest.socketPath, disks: { ubd0: guest.diskPath } } },
    };
    await writeFile(file, JSON.stringify(config));
    const umlsnap = (...args: string[]) => show(file, args);
    say(`   ${(await guest.sh('uname -sr')).trim()}, disk ${guest.diskPath}, process ${guest.pid}`);

    await waitFor('40 lines', async () => (await lastLine()) >= 40);

    step('It is backed up while it runs');
    const written = await lastLine();
    const summary = (await umlsnap('snapshot', 'demo', '--json')).find(({ type }) => type === 'summary');
    const { snapshot, consistency, method, pausedMs } = summary ?? {};
    const paused = `${Number(pausedMs).toFixed(1)} ms`;
    say(`   ${snapshot}: ${consistency}, by ${method}, the guest stood still for ${paused}`);
    const after = await lastLine();
    const runsOn = `the guest runs on (line ${written} before the snapshot, line ${after} after it)`;
    require(after > written, runsOn);

    step('The snapshot is restored');
    const restored = join(dir, 'restored');
    await mkdir(restored);
    await umlsnap('restore', 'demo@latest', '--to', restored);

    step('The restored disk is sound, and holds what the guest had written');
    const image = join(restored, 'ubd0.img');
    const check = await e2fsckReplayed(image);
    require(check.clean, 'e2fsck finds no fault in the restored filesystem (journal replayed on a copy)');
    const lines = (await readFileFromImage(image, '/data/log'))?.toString().trimEnd().split('\n') ?? [];
    const isWhole = lines.every((line, index) => line === `line ${index + 1}`);
    const allThere = `all ${written} lines written before it are there, ${lines.length} in all`;
    require(isWhole && lines.length >= written, allThere);

    step('The history');
    await umlsnap('list');
    await umlsnap('history');
    await umlsnap('show', 'demo@latest');
  } finally {
    step('The guest is halted');
    await guest.halt();
  }
  say('\nAll of this was real. To back up a guest of your own, go on with README.md.');
}

async function main(): Promise<void> {
  await ensureDebianPackages(say);
  await buildAll();
  if (canLoopMount('xfs')) {
    say('On an XFS of its own, which has reflinks: the pause then does not depend on the size of the disk.');
    return await withLoopFilesystem({ type: 'xfs', sizeMiB: 2048 }, demonstrate);
  }
  say(
    'No loop mounts here (they need root): the disk is copied during the pause, unless this filesystem has reflinks.',
  );
  await withTempDir(demonstrate);
}

main().catch((error: unknown) => {
  process.stderr.write(`demo: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
});
