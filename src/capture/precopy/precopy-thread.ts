import { parentPort, workerData } from 'node:worker_threads';
import { setIdleIoPriority } from '../../image/linux-calls.js';
import { newBuffer } from '../../image/sparse-pass.js';
import { setThreadUrgency } from '../../urgency.js';
import { BackgroundCopy } from './background-copy.js';
import { CompareWork } from './compare-work.js';
import { DiskTrouble } from './precopy-words.js';
import type { ThreadData, ThreadOrder, ThreadWord } from './thread-words.js';

/** A thread of the precopy child: does what it is told, one order after the other. */

const data = workerData as ThreadData;
if (data.isBackground) {
  setThreadUrgency('background');
  setIdleIoPriority();
}
const copy = data.isBackground ? new BackgroundCopy(data, newBuffer()) : null;
const compare = new CompareWork(data);
parentPort?.on('message', (order: ThreadOrder) => say(attempt(order)));
say({ is: 'ready' });

function attempt(order: ThreadOrder): ThreadWord {
  try {
    if (order.is === 'compare') return compare.run(order.sampleMs);
    if (copy === null) throw new Error(`${order.is} is for the background thread`);
    return order.is === 'bulk' ? copy.bulk() : copy.round(order.limitMs);
  } catch (error) {
    if (error instanceof DiskTrouble) return error.word;
    throw error;
  }
}

function say(word: ThreadWord): void {
  parentPort?.postMessage(word);
}
