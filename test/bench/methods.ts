/** The ways of backing up a guest that are held side by side. */

/** In the order in which they are run and shown. */
export const methodNames = ['recipe', 'copy', 'compared', 'traced', 'reflink'] as const;
export type MethodName = (typeof methodNames)[number];

export interface Method {
  /** In the tables. */
  title: string;
  /** In the plot. */
  shortTitle: string;
  /** What the config of umlsnap says; null: umlsnap has no part in it. */
  settings: Record<string, string> | null;
}

export const methods: Record<MethodName, Method> = {
  recipe: { title: 'documented recipe', shortTitle: 'recipe', settings: null },
  copy: { title: '`copy`', shortTitle: 'copy', settings: { capture: 'copy' } },
  compared: {
    title: '`precopy`, compared',
    shortTitle: 'precopy, compared',
    settings: { capture: 'precopy', precopyTracker: 'compared' },
  },
  traced: {
    title: '`precopy`, traced',
    shortTitle: 'precopy, traced',
    settings: { capture: 'precopy', precopyTracker: 'traced' },
  },
  reflink: { title: '`reflink`', shortTitle: 'reflink', settings: { capture: 'reflink' } },
};
