/** One file once built, for the reason that `kysely.ts` gives. */
export { isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseAllDocuments, stringify } from 'yaml';
