import { probeTracing } from '../../../src/capture/tracing/probe-tracing.js';

/** Null where writes can be traced; else the reason for a test to skip, said aloud. */
export async function whyNoTracing(): Promise<string | null> {
  const probe = await probeTracing();
  if (!probe.works) process.stderr.write(`tests of tracing are skipped: ${probe.reason}\n`);
  return probe.works ? null : probe.reason;
}
