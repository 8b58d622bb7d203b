import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { probeTracing } from '../../../src/capture/tracing/probe-tracing.js';
import { createTraceInstance, removeStaleInstances } from '../../../src/capture/tracing/trace-instance.js';
import { findTracefs } from '../../../src/capture/tracing/tracefs.js';
import { runTool } from '../../support/run-tool.js';

/** A process that makes an instance: `hold` it until it is killed, `probe`, or see it through an unmounted tracefs. */
if (process.argv[2] === 'hold') {
  const instance = await createTraceInstance();
  console.log(instance.path);
  setInterval(() => {}, 1000);
} else if (process.argv[2] === 'probe') {
  console.log(JSON.stringify({ probe: await probeTracing(), removed: await removeStaleInstances() }));
} else {
  // In a mount namespace of its own: nobody else's tracefs goes.
  const tracefs = findTracefs();
  if ('problem' in tracefs) throw new Error(tracefs.problem);
  const instance = await createTraceInstance();
  await runTool('umount', ['-l', tracefs.path]);
  await instance.remove();
  const again = await createTraceInstance();
  const isLeft = existsSync(again.path.replace(/[^/]+$/, basename(instance.path)));
  await again.remove();
  console.log(`${isLeft ? 'left' : 'removed'} ${again.path}`);
}
