import { appendFileSync } from 'node:fs';

export const roundsVariable = 'UMLSNAP_ROUNDS';
/** Names the file in which a campaign wants to be told. */
export const toldVariable = 'UMLSNAP_TOLD';

/**
 * How often a test repeats what it looks at: more often by `UMLSNAP_ROUNDS=50 npx vitest run … test/guests/NAME.test.ts`, or
 * by `npm run campaign`, when somebody wants to know how good "always" is.
 */
export function roundsOr(usual: number): number {
  const wanted = Number(process.env[roundsVariable]);
  return Number.isInteger(wanted) && wanted > 0 ? wanted : usual;
}

/** Tells the campaign that runs this test, if any does, what it has met: `{ kills: 37 }`. */
export function tellCampaign(facts: Record<string, number>): void {
  const file = process.env[toldVariable];
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(facts)}\n`);
}
