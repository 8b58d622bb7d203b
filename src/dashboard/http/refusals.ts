import type { RateLimit } from './rate-limits.js';

/** Thrown for a request that may not do what it asks for. */
export class Refused extends Error {
  readonly because: 'host' | 'localhost' | 'origin' | 'login' | 'form' | 'rights' | RateLimit;

  constructor(because: Refused['because']) {
    super(because);
    this.because = because;
  }
}

const tooMuch = {
  status: 429,
  text: 'Those who are not logged in ask for too much. Log in, or try again soon.',
};
export const refusals: Record<Refused['because'], { status: number; text: string }> = {
  host: {
    status: 421,
    text: 'This daemon is not known by the name that you asked for. Use its address, or add the name to dashboard.hosts.',
  },
  localhost: {
    status: 421,
    text: 'Log in at the address, such as http://127.0.0.1:8460/: by the name localhost, a browser may get to another user of this host.',
  },
  origin: { status: 403, text: 'This was asked for by a page of another site. Nothing was done.' },
  form: {
    status: 403,
    text: 'This form is too old, or not one of ours. Nothing was done: load the page again.',
  },
  rights: { status: 403, text: 'This token is for metrics only.' },
  ...{ read: tooMuch, scrape: tooMuch },
  tries: {
    status: 429,
    text: 'There were too many wrong tokens. Log in by a link of umlsnap ctl dashboard, or try again in a minute.',
  },
  login: { status: 401, text: 'Log in first: umlsnap ctl dashboard prints a link.' },
};
