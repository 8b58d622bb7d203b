import type { JobKind, Trigger } from '../history/records.js';

/** A job at work in this process. */
export interface RunningJob {
  job: string;
  kind: JobKind;
  guest: string | null;
  trigger: Trigger;
  startedAt: string;
}

interface Posting {
  job: RunningJob;
  said: object[];
  followers: Set<Follower>;
}

export interface Follower {
  take(object: object): void;
  /** No more will come. */
  end(): void;
}

/** Told of every job. MUST NOT do anything slow: another job may have its guest paused. */
export interface BoardWatcher {
  begun(job: RunningJob): void;
  said(job: RunningJob, object: object): void;
  ended(job: RunningJob): void;
}

/** What one job may say, so that a board can't grow without end: more than any job does. */
const maxObjects = 1000;

/** The jobs at work, whoever wanted them, and what each has said so far. */
export class JobBoard {
  readonly #postings = new Map<string, Posting>();
  readonly #watchers = new Set<BoardWatcher>();

  begin(job: Omit<RunningJob, 'startedAt'>): void {
    const posted = { ...job, startedAt: new Date().toISOString() };
    this.#postings.set(job.job, { job: posted, said: [], followers: new Set() });
    for (const watcher of this.#watchers) watcher.begun(posted);
  }

  publish(job: string, object: object): void {
    const posting = this.#postings.get(job);
    if (!posting || posting.said.length >= maxObjects) return;
    // How far a long copy is, said twice a second, MUST NOT use up the room for how the job ends.
    const last = posting.said.at(-1);
    if (last && 'doneBytes' in last && 'doneBytes' in object) posting.said.pop();
    posting.said.push(object);
    for (const follower of posting.followers) follower.take(object);
    for (const watcher of this.#watchers) watcher.said(posting.job, object);
  }

  /** Also of a job that was never begun: then nothing happens. */
  end(job: string): void {
    const posting = this.#postings.get(job);
    this.#postings.delete(job);
    for (const follower of posting?.followers ?? []) follower.end();
    if (posting) for (const watcher of this.#watchers) watcher.ended(posting.job);
  }

  running(): RunningJob[] {
    return [...this.#postings.values()].map(({ job }) => job);
  }

  /** What a job said last; undefined: no such job runs, or it has said nothing. */
  lastOf(job: string): object | undefined {
    return this.#postings.get(job)?.said.at(-1);
  }

  /** @returns what ends that */
  watch(watcher: BoardWatcher): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Tells all that the job has said, and what it says until its end. @returns what ends that; undefined: no such job runs */
  follow(job: string, follower: Follower): (() => void) | undefined {
    const posting = this.#postings.get(job);
    if (!posting) return undefined;
    for (const object of posting.said) follower.take(object);
    posting.followers.add(follower);
    return () => posting.followers.delete(follower);
  }
}
