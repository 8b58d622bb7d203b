import { bootGuest } from './real-guest.js';

/** Boots a guest in the directory given, of the name given, prints its session's id and waits to be killed. */
const [dir = '', umid] = process.argv.slice(2);
const guest = await bootGuest({ dir, writer: 'none', ...(umid !== undefined && { umid }) });
process.stdout.write(`${guest.pid}\n`);
setInterval(() => undefined, 60_000);
