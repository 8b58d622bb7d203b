interface Method {
  /** In the tables. */
  title: string;
  /** What the config of umlsnap says; null: umlsnap has no part in it. */
  settings: Record<string, string> | null;
  /** Beside it, as many processes as the machine has CPUs compute without a rest. */
  isBusy?: boolean;
}

export type MethodName = 'recipe' | 'copy' | 'compared' | 'traced' | 'tracedBusy' | 'reflink' | 'reflinkBusy';

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
  tracedBusy: { ...precopy('traced'), title: '`precopy`, traced, all CPUs busy', isBusy: true },
  reflink: { title: '`reflink`', settings: { capture: 'reflink' } },
  reflinkBusy: { title: '`reflink`, all CPUs busy', settings: { capture: 'reflink' }, isBusy: true },
};
export const methodNames = Object.keys(methods) as MethodName[];
