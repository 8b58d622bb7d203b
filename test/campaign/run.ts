import { randomInt } from 'node:crypto';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { runTool, tryTool } from '../support/run-tool.js';
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

async function describeMachine(): Promise<Machine> {
  const { exitCode, stdout } = await tryTool('git', ['-C', root, 'describe', '--always', '--dirty']);
  return {
    host: release(),
    guest: (await runTool('linux.uml', ['--version'])).toString().trim(),
    revision: exitCode === 0 ? stdout.toString().trim() : 'no revision',
  };
}

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
  const random = (trial: number) => randomOf(seed, trial);
  const startedAtMs = performance.now();
  let trialFromMs = startedAtMs;
  let saidAtMs = startedAtMs;
  const findings = () => ({ campaign, entries: state.entries });
  const progress = () =>
    say(progressOf(findings(), { wanted, here: state.done - from, hereMs: performance.now() - startedAtMs }));
  if (from < wanted) {
    for await (const trial of campaign.trials({ from, count: wanted - from, random, signal })) {
      const nowMs = performance.now();
      const at = new Date().toISOString();
      state.add({ first: state.done, seed, at, ms: Math.round(nowMs - trialFromMs), ...trial, ...machine });
      trialFromMs = nowMs;
      for (const problem of trial.problems) say(`${campaign.name}: LOST: ${problem}`);
      if (signal.aborted) break;
      if (state.done >= wanted || nowMs - saidAtMs < progressEveryMs) continue;
      saidAtMs = nowMs;
      progress();
    }
  }
  if (state.done > from) progress();
  else say(`${campaign.name}: ${state.done} of ${wanted} ${campaign.unit} were done before`);
  return state.entries.every(({ problems }) => problems.length === 0);
}

/** One that can't go on keeps none of the others from being run. */
async function runAll(options: CampaignOptions, signal: AbortSignal): Promise<number> {
  const machine = await describeMachine();
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
  await writeFile(file, reportOf(all));
  say(`written: ${file}`);
}

/** Aborted when whoever started us closes our standard input: by a signal, or by its death. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  process.stdin.resume().once('close', () => controller.abort(new Error('interrupted')));
  return controller.signal;
}

const options = parseOptions(
  process.argv.slice(2),
  campaigns.map(({ name }) => name),
);
const interrupted = interruption();
// All that the support of the tests makes lies in it, the images that it keeps as well.
const dir = await makeTempDir(await roomInMemory());
// Guests that run as another user find their way through it.
await chmod(dir, 0o711);
process.env.TMPDIR = dir;
process.env[cacheVariable] = join(dir, 'cache');
const exitCode = await runAll(options, interrupted).finally(() => removeTempDir(dir));
await writeReport(options.out);
// Once all is written: where that is a pipe, it takes its time.
process.stdout.write('', () => process.exit(exitCode));
