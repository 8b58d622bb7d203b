import { expect, test } from 'vitest';
import type { GuestConfig } from '../../src/config/config.js';
import { GuestWatch } from '../../src/dashboard/guest-watch.js';

test('guests are looked at once, however many look at a page, and never while somebody works on them', async () => {
  const looked: string[] = [];
  const changed: string[] = [];
  const errors: unknown[] = [];
  const watch = new GuestWatch({
    guests: () => ['idle', 'atWork', 'broken'].map((name) => ({ name }) as GuestConfig),
    look: async ({ name }) => {
      looked.push(name);
      if (name === 'broken') throw new Error('no');
      return { state: 'running', problem: null };
    },
    isAtWork: async (guest) => guest === 'atWork',
    onChange: (guest) => changed.push(guest),
    onError: (error) => errors.push(error),
  });
  expect(watch.seen('idle')).toBeNull();
  await Promise.all(Array.from({ length: 20 }, () => watch.want()));
  expect(looked).toEqual(['idle', 'broken']);
  expect(changed).toEqual(['idle']);
  expect(errors).toHaveLength(1);
  const states = ['idle', 'atWork', 'broken'].map((name) => watch.seen(name)?.state);
  expect(states).toEqual(['running', undefined, undefined]);
  await watch.close();
  await watch.want();
  expect(looked).toHaveLength(2);
});
