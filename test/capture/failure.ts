import { type FactsByCode, isError } from '../../src/errors.js';

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
  const { device, problem } = thrown.facts as Partial<FactsByCode['CaptureFailed']>;
  return device === undefined ? String(problem) : `${device}: ${problem}`;
}
