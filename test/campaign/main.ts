import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { buildAll } from '../support/build.js';
import { containment } from '../support/containment.js';
import { campaigns } from './campaigns.js';
import { parseOptions, usage } from './options.js';
import { CampaignState } from './state.js';

/** `npm run campaign`: builds what it starts, and runs `run.ts` within the walls that the tests have. */

const root = resolve(import.meta.dirname, '../..');
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

async function main(args: string[]): Promise<number> {
  const options = parseOptions(
    args,
    campaigns.map(({ name }) => name),
  );
  if (!options.list) {
    await buildAll();
    return await runWithin(containment(), args);
  }
  for (const { name, n, unit, hazard } of campaigns) {
    const { done } = new CampaignState(join(root, '.campaign'), name);
    process.stdout.write(`${name.padEnd(18)}${done} of ${n} ${unit}: ${hazard}\n`);
  }
  return 0;
}

/**
 * In a session of its own: Ctrl-C MUST NOT reach the commands of the trial that is under way. It is asked to end by the
 * end of its standard input; a second signal ends it at once.
 */
async function runWithin(walls: string[], args: string[]): Promise<number> {
  const script = join(import.meta.dirname, 'run.ts');
  const [command = '', ...given] = [...walls, process.execPath, ...process.execArgv, script, ...args];
  const child = spawn(command, given, { cwd: root, detached: true, stdio: ['pipe', 'inherit', 'inherit'] });
  let askedAtMs = Number.NaN;
  const ask = () => {
    // One Ctrl-C may come twice: from the terminal, and passed on by npm.
    if (performance.now() - askedAtMs > 1000) child.kill('SIGKILL');
    if (Number.isNaN(askedAtMs)) askedAtMs = performance.now();
    child.stdin.end();
  };
  for (const signal of signals) process.on(signal, ask);
  const [code] = await once(child, 'close');
  return code ?? 130;
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.stderr.write(`campaign: ${error instanceof Error ? error.message : error}\n\n${usage}\n`);
    process.exitCode = 2;
  },
);
