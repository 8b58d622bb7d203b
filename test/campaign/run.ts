import { randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { guestKernel, revision } from '../bench/machine.js';
import { makeTempDir, removeTempDir, roomInMemory } from '../support/temp-dir.js';
import { cacheVariable } from '../support/test-cache.js';
import { type Campaign, randomOf } from './campaign.js';
import { campaigns } from './campaigns.js';
import { type CampaignOptions, parseOptions } from './options.js';
import { progressOf, reportOf } from './report.js';
import { CampaignState, type Machine } from './state.js';

/** The process that `main.ts` starts within its walls: runs the campaigns, notes each trial, and writes the report. */

const root = resolve(import.meta.dirname, '../..');
const stateDir = join(root, '.campaign');
const progressEveryMs = 10_000;
const say = (line: string) => void process.stdout.write(`${line}\n`);

/** Goes on from where the campaign was left, as far as it may. @returns whether it has lost nothing, of all that it ever did */
async function runOne(
  campaign: Campaign,
  { options, machine, signal }: { options: CampaignOptions; machine: Machine; signal: AbortSignal },
): Promise<boolean> {
  const state = new CampaignState(stateDir, campaign.name);
  if (options.fresh) state.forget();
  const seed = state.seed ?? options.seed ?? randomInt(1_000_000);
  if (options.seed !== null && options.seed !== seed)
    throw new Error(`${campaign.name} was begun with seed ${seed}: go on with that, or begin --fresh`);
  const wanted = options.n ?? campaign.n;
  const from = state.done;
  if (from >= wanted) say(`${campaign.name}: ${from} of ${wanted} ${campaign.unit} were done before`);
  else {
    const random = (trial: number) => randomOf(seed, trial);
    const startedAtMs = performance.now();
    let [trialFromMs, saidAtMs] = [startedAtMs, startedAtMs];
    for await (const trial of campaign.trials({ from, count: wanted - from, random, signal })) {
      const nowMs = performance.now();
      const at = new Date().toISOString();
      state.add({ first: state.done, seed, at, ms: Math.round(nowMs - trialFromMs), ...trial, ...machine });
      trialFromMs = nowMs;
      for (const problem of trial.problems) say(`${campaign.name}: LOST: ${problem}`);
      const isLast = signal.aborted || state.done >= wanted;
      if (isLast || nowMs - saidAtMs >= progressEveryMs) {
        const here = { wanted, here: state.done - from, hereMs: nowMs - startedAtMs };
        say(progressOf({ campaign, entries: state.entries }, here));
        saidAtMs = nowMs;
      }
      if (signal.aborted) break;
    }
  }
  return state.entries.every(({ problems }) => problems.length === 0);
}

/** One that can't go on keeps none of the others from being run. */
async function runAll(options: CampaignOptions, signal: AbortSignal): Promise<number> {
  const [guest, revised = 'no revision'] = [await guestKernel(), await revision()];
  const machine = { host: release(), guest, revision: revised };
  let exitCode = 0;
  for (const campaign of campaigns.filter(({ name }) => options.names.includes(name))) {
    if (signal.aborted) break;
    try {
      if (!(await runOne(campaign, { options, machine, signal }))) exitCode = 1;
    } catch (error) {
      if (signal.aborted) break;
      say(`${campaign.name}: BROKEN OFF: ${error instanceof Error ? (error.stack ?? error.message) : error}`);
      exitCode = 1;
    }
  }
  if (signal.aborted) say('interrupted: the next `npm run campaign` goes on from here');
  return signal.aborted && exitCode === 0 ? 130 : exitCode;
}

async function writeReport(out: string): Promise<void> {
  const file = resolve(root, out);
  const all = campaigns.map((campaign) => ({
    campaign,
    entries: new CampaignState(stateDir, campaign.name).entries,
  }));
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, reportOf(all, existsSync(file) ? await readFile(file, 'utf8') : ''));
  say(`written: ${file}`);
}

const options = parseOptions(
  process.argv.slice(2),
  campaigns.map(({ name }) => name),
);
// Whoever started us closes our standard input: by a signal, or by its death.
const interruption = new AbortController();
process.stdin.resume().once('close', () => interruption.abort(new Error('interrupted')));
// All that the support of the tests makes lies in it, the images that it keeps as well.
const dir = await makeTempDir(await roomInMemory());
// Guests that run as another user find their way through it.
await chmod(dir, 0o711);
process.env.TMPDIR = dir;
process.env[cacheVariable] = join(dir, 'cache');
const exitCode = await runAll(options, interruption.signal).finally(() => removeTempDir(dir));
await writeReport(options.out);
// Once all is written: where that is a pipe, it takes its time.
process.stdout.write('', () => process.exit(exitCode));
