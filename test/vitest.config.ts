import { defineConfig } from 'vitest/config';

const guests = 'test/guests/**/*.test.ts';

/**
 * `forks` because the datagram sockets work in a process's main thread only. Guests are booted by one file at a time,
 * and after all else: two cores carry one guest and what is done to it, and times mean something then.
 */
export default defineConfig({
  test: {
    teardownTimeout: 60_000,
    projects: [
      {
        test: {
          name: 'unit',
          root: `${import.meta.dirname}/..`,
          include: ['test/**/*.test.ts'],
          exclude: [guests],
          globalSetup: 'test/support/global-setup.ts',
          pool: 'forks',
          maxWorkers: 2,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'guests',
          root: `${import.meta.dirname}/..`,
          include: [guests],
          globalSetup: 'test/support/global-setup.ts',
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 300_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
