import * as z from 'zod';
import { processSchema } from './lease.js';

/** What the orchestrator and its guardian say to each other: one JSON object a line, over the guardian's stdin and stdout. */

const orderSchema = z.discriminatedUnion('do', [
  z.strictObject({
    do: z.literal('arm'),
    socketPath: z.string(),
    main: processSchema,
    leaseFile: z.string(),
    proveStopAfterMs: z.number().positive().optional(),
  }),
  z.strictObject({ do: z.literal('pause'), pause: z.string(), budgetMs: z.number().positive() }),
  z.strictObject({ do: z.literal('resume') }),
]);

const reportSchema = z.discriminatedUnion('said', [
  z.strictObject({ said: z.literal('armed') }),
  z.strictObject({ said: z.literal('paused') }),
  /** The guest was stopped already, by somebody else. */
  z.strictObject({ said: z.literal('refused') }),
  /** `stop` got no answer; the guardian has begun to resume by itself. */
  z.strictObject({ said: z.literal('unanswered') }),
  z.strictObject({
    said: z.literal('ended'),
    endedBy: z.enum(['request', 'deadline', 'guardian']),
    over: z.enum(['resumed', 'others', 'notOurs', 'gone']),
    pausedMs: z.number().nonnegative().nullable(),
  }),
  z.strictObject({ said: z.literal('failed'), problem: z.string() }),
]);

export type GuardianOrder = z.infer<typeof orderSchema>;
export type GuardianReport = z.infer<typeof reportSchema>;

/** Why the guardian resumed: asked to, its deadline, or its own decision (pipe closed, signal, protocol error). */
export type GuardianCause = Extract<GuardianReport, { said: 'ended' }>['endedBy'];

export const formatLine = (message: GuardianOrder | GuardianReport): string => `${JSON.stringify(message)}\n`;

/**
 * Parses one message of each kind. Code takes milliseconds when it runs for the first time: it MUST NOT do that while the
 * guest stands still.
 */
export function rehearseProtocol(): void {
  const orders: GuardianOrder[] = [
    { do: 'arm', socketPath: '', main: { pid: 1, startTicks: 0 }, leaseFile: '' },
    { do: 'pause', pause: '', budgetMs: 1 },
    { do: 'resume' },
  ];
  const reports: GuardianReport[] = [
    ...(['armed', 'paused', 'refused', 'unanswered'] as const).map((said) => ({ said })),
    { said: 'ended', endedBy: 'request', over: 'resumed', pausedMs: 1 },
  ];
  for (const order of orders) parseOrder(formatLine(order));
  for (const report of reports) parseReport(formatLine(report));
}

/** @throws on anything that is no order: the guardian then resumes the guest and ends */
export const parseOrder = (line: string): GuardianOrder => orderSchema.parse(JSON.parse(line));

/** @throws on anything that is no report */
export const parseReport = (line: string): GuardianReport => reportSchema.parse(JSON.parse(line));
