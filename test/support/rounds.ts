/**
 * How often a test repeats what it looks at: more often by `UMLSNAP_ROUNDS=50 npx vitest run … test/guests/NAME.test.ts`, when
 * somebody wants to know how good "always" is.
 */
export function roundsOr(usual: number): number {
  const wanted = Number(process.env.UMLSNAP_ROUNDS);
  return Number.isInteger(wanted) && wanted > 0 ? wanted : usual;
}
