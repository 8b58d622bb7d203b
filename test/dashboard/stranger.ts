import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { jsonLines } from '../support/cli.js';
import { heard } from '../support/heard.js';
import { waitFor } from '../support/wait-for.js';

/** Another user of the host, who has a program of his own at work here. */

const asNobody = ['--reuid=65534', '--regid=65534', '--clear-groups', '--pdeathsig', 'KILL', '--'];

async function withStranger<T>(script: string, args: string[], use: (said: () => string) => Promise<T>) {
  const command = [...asNobody, process.execPath, '-e', script, ...args];
  const child: ChildProcessByStdio<null, Readable, Readable> = spawn('setpriv', command, {
    cwd: '/',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [said, complained] = [heard(child.stdout), heard(child.stderr)];
  const exited = once(child, 'exit');
  try {
    await waitFor('the stranger to be ready', () => said().includes('\n'), { found: complained });
    return await use(said);
  } finally {
    child.kill('SIGKILL');
    await exited;
  }
}

/**
 * Holds so many connections to a port, every other one with half a request, and makes a new one for each that it loses.
 */
const holding = `const [port, count] = process.argv.slice(1).map(Number);
let open = 0;
const hold = (index) => {
  const socket = require('node:net').connect(port, '127.0.0.1', () => {
    if (index % 2) socket.write('GET / HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nX-Slow: ');
    if (++open === count) console.log('open');
  });
  socket.on('error', () => {}).once('close', () => setTimeout(hold, 250, index));
};
for (let index = 0; index < count; index++) hold(index);`;

export const withHeldConnections = <T>(port: number, count: number, use: () => Promise<T>) =>
  withStranger(holding, [String(port), String(count)], use);

/** Tells all that it is asked for, on a port of its own. */
const listening = `const server = require('node:http').createServer((request, response) => {
  console.log(JSON.stringify({ url: request.url, headers: request.rawHeaders }));
  response.setHeader('content-type', 'text/html').end('<p>Hello');
}).listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));`;

/** @param use is told the port, and what was asked for there since */
export const withListener = <T>(
  use: (listener: { port: number; seen(): string[] }) => Promise<T>,
): Promise<T> =>
  withStranger(listening, [], (said) => {
    const [{ port }] = jsonLines(said()) as [{ port: number }];
    const seen = () =>
      jsonLines(said())
        .slice(1)
        .map(({ url, headers }) => `${url} ${JSON.stringify(headers)}`);
    return use({ port, seen });
  });
