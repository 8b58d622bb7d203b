import { workerData } from 'node:worker_threads';
import { toSentError } from '../../errors.js';
import { setIdleIoPriority } from '../../image/linux-calls.js';
import { newBuffer } from '../../image/sparse-pass.js';
import { setThreadPriority } from '../../priority.js';
import { BackgroundCopy } from './background-copy.js';
import { CompareWork } from './compare-work.js';
import type { ThreadAnswer, ThreadOrder, ThreadStart } from './work-thread.js';

/** A thread of the capture process: does what it is told, one order after the other. */

const { port, answers, ...data } = workerData as ThreadStart;
const answered = new Int32Array(answers);
if (data.isBackground) {
  setThreadPriority('background');
  setIdleIoPriority();
}
const copy = data.isBackground ? new BackgroundCopy(data, newBuffer()) : null;
const compare = new CompareWork(data);
port.on('message', (order: ThreadOrder) => send(attempt(order)));
send({ type: 'ready' });

function attempt(order: ThreadOrder): ThreadAnswer {
  try {
    if (order.type === 'compare') return compare.run(order.sampleMs);
    if (copy === null) throw new Error(`${order.type} is for the background thread`);
    if (order.type === 'round') return copy.round(order.limitMs);
    return order.type === 'bulk' ? copy.bulk() : copy.clone();
  } catch (error) {
    return { type: 'failed', error: toSentError(error) };
  }
}

/** In this order: whoever waits without an event loop finds the answer when it is counted. */
function send(answer: ThreadAnswer): void {
  port.postMessage(answer);
  Atomics.add(answered, 0, 1);
  Atomics.notify(answered, 0);
}
