import { defineConfig } from 'vitest/config';

const guests = 'test/guests/**/*.test.ts';

/**
 * By hand nothing is tried twice: a test that fails now and then is a bug. CI runs all of them for most of an hour on a machine that
 * others share, tries once more, and says so beside the test (`retry x1`), for whoever looks for those bugs.
 */
const retry = process.env.CI === undefined ? 0 : 1;

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
          retry,
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
          retry,
          testTimeout: 300_000,
          hookTimeout: 300_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
