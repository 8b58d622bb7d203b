import { bootGuest } from './real-guest.js';

/** Boots a guest in the directory given, prints its session's id and waits to be killed: for harness.test.ts. */
const guest = await bootGuest({ dir: process.argv[2] ?? '', writer: 'none' });
process.stdout.write(`${guest.pid}\n`);
setInterval(() => undefined, 60_000);
