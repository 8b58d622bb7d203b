import { defineConfig } from 'vitest/config';

const guests = 'test/guests/**/*.test.ts';

/**
 * `forks` because the datagram sockets work in a process's main thread only. Three workers keep two cores busy while some of them
 * wait: tests wait for conditions, never for a time, and so each is green beside any other. A worker runs one file after the other
 * without loading all of the project anew for each: a module of the tests MUST keep nothing that a file leaves behind.
 */
const common = {
  root: `${import.meta.dirname}/..`,
  pool: 'forks',
  isolate: false,
  maxWorkers: 3,
  sequence: { groupOrder: 0 },
} as const;

export default defineConfig({
  test: {
    teardownTimeout: 60_000,
    globalSetup: 'test/support/global-setup.ts',
    projects: [
      {
        test: {
          ...common,
          name: 'guests',
          include: [guests],
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          ...common,
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: [guests],
          testTimeout: 180_000,
          hookTimeout: 180_000,
        },
      },
    ],
  },
});
