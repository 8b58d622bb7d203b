/** One file once built, for the reason that `kysely.ts` gives. */
export { z } from 'zod';
