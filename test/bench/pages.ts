import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeCrowd } from '../dashboard/crowd.js';
import { DashboardOfTests } from '../dashboard/daemon-of-tests.js';
import { buildAll } from '../support/build.js';
import { withTempDir } from '../support/temp-dir.js';

/** `npm run bench:pages`: the pages and the metrics of a daemon with 300 guests of 1,000 jobs each, as its clients get them. */

const rounds = 20;
/** Longer than anything is kept for the next one who asks. */
const restMs = 1200;
const say = (line: string) => void process.stdout.write(`${line}\n`);

async function measure(dashboard: DashboardOfTests, name: string, path: string): Promise<void> {
  const tookMs: number[] = [];
  let sizeBytes = 0;
  for (let round = 0; round < rounds; round++) {
    await sleep(restMs);
    const startedMs = performance.now();
    const { status, body } = await dashboard.ask(path, { bySocket: true });
    if (status !== 200) throw new Error(`${path}: ${status}`);
    tookMs.push(performance.now() - startedMs);
    sizeBytes = Buffer.byteLength(body);
  }
  tookMs.sort((a, b) => a - b);
  const at = (part: number) => `${(tookMs[Math.floor(part * (rounds - 1))] ?? 0).toFixed(0)} ms`;
  const kib = (sizeBytes / 1024).toFixed(0);
  say(`${name}: ${kib} KiB, ${at(0)} at best, ${at(0.5)} in the middle, ${at(1)} at worst of ${rounds}`);
}

await buildAll();
await withTempDir(async (dir) => {
  say('300 guests with 1,000 jobs each are made up');
  const crowd = await makeCrowd(dir, { guests: 300, jobsPerGuest: 1000, jobsWithPhases: 1000 });
  const dashboard = await DashboardOfTests.start(crowd);
  try {
    await measure(dashboard, 'the first page', '/');
    await measure(dashboard, 'the page of a guest', '/guests/web-001');
    await measure(dashboard, 'the metrics', '/metrics');
    const usage = await readFile(`/proc/${dashboard.daemon.pid}/status`, 'utf8');
    say(`memory of the daemon: ${/VmRSS:\s+(.*)/.exec(usage)?.[1]}`);
  } finally {
    await dashboard.daemon.end();
  }
});
