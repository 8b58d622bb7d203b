import { once } from 'node:events';
import { doAllByHand } from './by-hand.js';

/** Heals, adopts and removes once it is told to by a line, to be killed meanwhile. */
console.log('ready');
await once(process.stdin, 'data');
await doAllByHand(process.argv[2] ?? '');
console.log('done');
process.exit(0);
