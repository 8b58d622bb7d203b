import type { JobKind, Trigger } from '../history/records.js';

/** A job at work in this process. */
export interface RunningJob {
  job: string;
  kind: JobKind;
  guest: string | null;
  trigger: Trigger;
  startedAt: string;
}

interface RegisteredJob {
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
export interface JobWatcher {
  begun(job: RunningJob): void;
  said(job: RunningJob, object: object): void;
  ended(job: RunningJob): void;
}

/** What one job may say, so that a registry can't grow without end: more than any job does. */
const maxObjects = 1000;

/** The jobs at work, whoever wanted them, and what each has said so far. */
export class JobRegistry {
  readonly #jobs = new Map<string, RegisteredJob>();
  readonly #watchers = new Set<JobWatcher>();

  begin(job: Omit<RunningJob, 'startedAt'>): void {
    const running = { ...job, startedAt: new Date().toISOString() };
    this.#jobs.set(job.job, { job: running, said: [], followers: new Set() });
    for (const watcher of this.#watchers) watcher.begun(running);
  }

  publish(job: string, object: object): void {
    const registered = this.#jobs.get(job);
    if (!registered || registered.said.length >= maxObjects) return;
    // How far a long copy is, said twice a second, MUST NOT use up the room for how the job ends.
    const last = registered.said.at(-1);
    if (last && 'doneBytes' in last && 'doneBytes' in object) registered.said.pop();
    registered.said.push(object);
    for (const follower of registered.followers) follower.take(object);
    for (const watcher of this.#watchers) watcher.said(registered.job, object);
  }

  /** Also of a job that was never begun: then nothing happens. */
  end(job: string): void {
    const registered = this.#jobs.get(job);
    this.#jobs.delete(job);
    for (const follower of registered?.followers ?? []) follower.end();
    if (registered) for (const watcher of this.#watchers) watcher.ended(registered.job);
  }

  running(): RunningJob[] {
    return [...this.#jobs.values()].map(({ job }) => job);
  }

  /** What a job said last; undefined: no such job runs, or it has said nothing. */
  lastOf(job: string): object | undefined {
    return this.#jobs.get(job)?.said.at(-1);
  }

  /** @returns what ends that */
  watch(watcher: JobWatcher): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Tells all that the job has said, and what it says until its end. @returns what ends that; undefined: no such job runs */
  follow(job: string, follower: Follower): (() => void) | undefined {
    const registered = this.#jobs.get(job);
    if (!registered) return undefined;
    for (const object of registered.said) follower.take(object);
    registered.followers.add(follower);
    return () => registered.followers.delete(follower);
  }
}
