import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Crowd, makeCrowd } from '../dashboard/crowd.js';
import { buildAll } from '../support/build.js';
import { withTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** `npm run bench:pages`: the pages and the metrics of a daemon with 300 guests of 1,000 jobs each, as its clients get them. */

const rounds = 20;
/** Longer than anything is kept for the next one who asks. */
const restMs = 1200;
const say = (line: string) => void process.stdout.write(`${line}\n`);

interface Answer {
  tookMs: number;
  sizeBytes: number;
}

function ask(socketPath: string, path: string): Promise<Answer> {
  const startedMs = performance.now();
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, agent: false }, (response) => {
      let sizeBytes = 0;
      response.on('data', (chunk: Buffer) => {
        sizeBytes += chunk.length;
      });
      response.once('end', () => {
        if (response.statusCode === 200) resolve({ tookMs: performance.now() - startedMs, sizeBytes });
        else reject(new Error(`${path}: ${response.statusCode}`));
      });
    });
    asked.once('error', reject);
    asked.end();
  });
}

async function measure(name: string, socketPath: string, path: string): Promise<void> {
  const answers: Answer[] = [];
  for (let round = 0; round < rounds; round++) {
    await sleep(restMs);
    answers.push(await ask(socketPath, path));
  }
  const tookMs = answers.map((answer) => answer.tookMs).sort((a, b) => a - b);
  const at = (part: number) => (tookMs[Math.floor(part * (tookMs.length - 1))] ?? 0).toFixed(0);
  const kib = ((answers.at(-1)?.sizeBytes ?? 0) / 1024).toFixed(0);
  say(
    `${name}: ${kib} KiB, ${at(0)} ms at best, ${at(0.5)} ms in the middle, ${at(1)} ms at worst of ${rounds}`,
  );
}

async function measureAll(crowd: Crowd): Promise<void> {
  const daemon = crowd.start(['daemon'], { timeoutMs: 900_000 });
  try {
    await daemon.waitForOutput(/daemon runs/);
    const socketPath = join(crowd.state, 'control.sock');
    await waitFor('its pages', () => ask(socketPath, '/'));
    await measure('the first page', socketPath, '/');
    await measure('the page of a guest', socketPath, '/guests/web-001');
    await measure('the metrics', socketPath, '/metrics');
    const usage = await readFile(`/proc/${daemon.pid}/status`, 'utf8');
    say(`memory of the daemon: ${/VmRSS:\s+(.*)/.exec(usage)?.[1]}`);
  } finally {
    daemon.kill('SIGTERM');
    await daemon.exited;
  }
}

await buildAll();
await withTempDir(async (dir) => {
  say('300 guests with 1,000 jobs each are made up');
  await measureAll(await makeCrowd(dir, { guests: 300, jobsPerGuest: 1000, jobsWithPhases: 1000 }));
});
