import * as z from 'zod';
import { processSchema } from './lease.js';

/** What the orchestrator and its guardian say to each other: one JSON object a line, over the guardian's stdin and stdout. */

const orderSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('arm'),
    socketPath: z.string(),
    main: processSchema,
    leaseFile: z.string(),
    proveStopAfterMs: z.number().positive().optional(),
  }),
  /** From now on the capture process may stop the guest. */
  z.strictObject({
    type: z.literal('guard'),
    pause: z.string(),
    budgetMs: z.number().positive(),
    pauser: processSchema,
  }),
  /** The capture process has said that it is through, or is to be given up. */
  z.strictObject({ type: z.literal('end') }),
]);

const reportSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('armed') }),
  z.strictObject({ type: z.literal('guarding') }),
  z.strictObject({
    type: z.literal('ended'),
    endedBy: z.enum(['request', 'deadline', 'pauser', 'guardian']),
    over: z.enum(['notPaused', 'byPauser', 'resumed', 'others', 'notOurs', 'gone']),
    pausedMs: z.number().nonnegative().nullable(),
    wasStopped: z.boolean(),
  }),
  z.strictObject({ type: z.literal('failed'), problem: z.string() }),
]);

export type GuardianOrder = z.infer<typeof orderSchema>;
export type GuardianReport = z.infer<typeof reportSchema>;

/** Why the guardian ended a pause: asked to, its deadline, a capture process that is dead or held, or itself (pipe closed, signal, protocol error). */
export type GuardianCause = Extract<GuardianReport, { type: 'ended' }>['endedBy'];

export const formatLine = (message: GuardianOrder | GuardianReport): string => `${JSON.stringify(message)}\n`;

/** @throws on anything that is no order: the guardian then resumes the guest and ends */
export const parseOrder = (line: string): GuardianOrder => orderSchema.parse(JSON.parse(line));

/** @throws on anything that is no report */
export const parseReport = (line: string): GuardianReport => reportSchema.parse(JSON.parse(line));
