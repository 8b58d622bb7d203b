/** What a daemon can be asked for, by name and by number: as the messages of a kerneld, each has both. */
export const requestNumbers = {
  snapshot: 1,
  verify: 2,
  prune: 3,
  status: 4,
  drill: 5,
  cancel: 6,
} as const;

export type RequestName = keyof typeof requestNumbers;

export const requestNames = Object.keys(requestNumbers) as RequestName[];

/** The type of a request by its name or its number, as a person or a guest writes it. */
export function requestNamed(text: string): RequestName | undefined {
  return requestNames.find((name) => name === text || String(requestNumbers[name]) === text);
}
