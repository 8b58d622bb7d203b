import type { ArmedCapture } from '../../../src/capture/capture.js';
import type { PrecopyOrder } from '../../../src/capture/precopy/precopy-order.js';
import { type FactsByCode, isError } from '../../../src/errors.js';
import { waitFor } from '../../support/wait-for.js';
import type { PrecopyScene } from './precopy-scene.js';

/** So that the bulk copy takes long enough for something to happen to it. */
const slowBytesPerSecond = 1.5 * 1024 ** 2;

/** The problem that a capture fails with, after its disk. @throws Error when it fails otherwise, or does not */
export async function failure(
  code: 'CaptureFailed' | 'SourceChanged' | 'TrackingLost',
  running: Promise<unknown>,
): Promise<string> {
  const thrown: unknown = await running.then(
    () => 'it succeeded',
    (error: unknown) => error,
  );
  if (!isError(thrown, code)) throw new Error(`not ${code}: ${String(thrown)}`, { cause: thrown });
  const facts = thrown.facts as Partial<FactsByCode['CaptureFailed']>;
  return facts.device === undefined ? String(facts.problem) : `${facts.device}: ${facts.problem}`;
}

/** Begins to arm, and resolves when the bulk copy is under way; `isFirstDone`: when a piece of it was copied as well. */
export async function inBulk(
  scene: PrecopyScene,
  changes: Partial<PrecopyOrder> = {},
  isFirstDone = true,
): Promise<{ arming: Promise<ArmedCapture> }> {
  let isUnderWay = false;
  const onProgress = ({ doneBytes }: { doneBytes: number }) => {
    isUnderWay ||= !isFirstDone || doneBytes > 0;
  };
  const arming = scene.arm({ bytesPerSecond: slowBytesPerSecond, ...changes, onProgress });
  arming.catch(() => {});
  await waitFor('the bulk copy to begin', () => isUnderWay, { everyMs: 5 });
  return { arming };
}
