import { describe, expect, test } from 'vitest';
import { type LeaseFacts, type LeasePlan, planLease } from '../../src/pause/recover-pauses.js';

/** A lease of dead processes on a living guest: the one case in which `go` is ours to send. */
const orphan: LeaseFacts = {
  sameBoot: true,
  noted: false,
  mainAlive: true,
  orchestratorAlive: false,
  guardianAlive: false,
  overdueMs: -1000,
};
const longAgoMs = 24 * 3600 * 1000;

describe('a lease that is found', () => {
  test.each<[string, Partial<LeaseFacts>, LeasePlan]>([
    ['of dead processes is resumed', {}, 'resume'],
    ['of dead processes, long after its time, is resumed too', { overdueMs: longAgoMs }, 'resume'],
    ['with its end noted is only written down', { noted: true }, 'closeAsNoted'],
    ['of another boot gets no go, whatever has its pids now', { sameBoot: false }, 'closeAsGone'],
    ['of another boot gets no go though its pids live', alive({ sameBoot: false }), 'closeAsGone'],
    ['of another boot and long ago gets no go', { sameBoot: false, overdueMs: longAgoMs }, 'closeAsGone'],
    ['of a guest that is gone gets no go, whoever has its pid', { mainAlive: false }, 'closeAsGone'],
    ['of a job at work is left to it', alive({}), 'leave'],
    ['whose guardian is dead is left to the job that lives', { orchestratorAlive: true }, 'leave'],
    ['whose job is dead is left to its guardian', { guardianAlive: true }, 'waitForGuardian'],
    ['whose guardian is stuck is resumed', { guardianAlive: true, overdueMs: longAgoMs }, 'resume'],
    ['whose job is stuck is resumed', { orchestratorAlive: true, overdueMs: longAgoMs }, 'resume'],
  ])('%s', (_, changes, plan) => {
    expect(planLease({ ...orphan, ...changes })).toBe(plan);
  });
});

function alive(changes: Partial<LeaseFacts>): Partial<LeaseFacts> {
  return { orchestratorAlive: true, guardianAlive: true, ...changes };
}
