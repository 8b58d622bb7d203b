interface Method {
  /** In the tables. */
  title: string;
  /** What the config of umlsnap says; null: umlsnap has no part in it. */
  settings: Record<string, string> | null;
}

export type MethodName = 'recipe' | 'copy' | 'compared' | 'traced' | 'reflink';

const precopy = (precopyTracker: string): Method => ({
  title: `\`precopy\`, ${precopyTracker}`,
  settings: { capture: 'precopy', precopyTracker },
});

/** The ways of backing up a guest that are held side by side, in the order in which they are run and shown. */
export const methods: Record<MethodName, Method> = {
  recipe: { title: 'documented recipe', settings: null },
  copy: { title: '`copy`', settings: { capture: 'copy' } },
  compared: precopy('compared'),
  traced: precopy('traced'),
  reflink: { title: '`reflink`', settings: { capture: 'reflink' } },
};
export const methodNames = Object.keys(methods) as MethodName[];
