import * as z from 'zod';
import type { CaptureChoice } from '../config/config.js';
import { type RequestName, requestNamed, requestNumbers } from '../config/request-names.js';
import { UmlsnapError } from '../errors.js';
import type { ControlCommand, Request, Requester, SnapshotOptions } from './request.js';
import { largestType, longestDelaySeconds, type Settings } from './settings.js';

/** What a process of this host may send, as JSON. Everything is checked here, and nothing further on. */

const maxDayMs = 86_400_000;
const name = z
  .string()
  .max(200)
  .regex(/^\P{Cc}*$/u);

/** By key, so that none can be forgotten here. */
const captures: Record<CaptureChoice, true> = { auto: true, reflink: true, precopy: true, copy: true };

const optionsSchema = z.strictObject({
  budgetMs: z.number().positive().max(maxDayMs).exactOptional(),
  require: z.enum(['frozen', 'synced', 'crash']).exactOptional(),
  capture: z.enum(Object.keys(captures) as CaptureChoice[]).exactOptional(),
  store: name.exactOptional(),
  labels: z
    .record(
      z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/),
      z
        .string()
        .max(256)
        .regex(/^\P{Cc}*$/u),
    )
    .refine((labels) => Object.keys(labels).length <= 64, '64 labels at most')
    .exactOptional(),
  pinned: z.boolean().exactOptional(),
  dryRun: z.boolean().exactOptional(),
  clockIsRight: z.boolean().exactOptional(),
  wait: z.boolean().exactOptional(),
});

const bodySchema = z.strictObject({
  type: z.union([z.string().max(16), z.int().min(1).max(largestType)]),
  /** 0: no answer is wanted. */
  id: z.int().min(0).max(0x7fffffff),
  text: name.default(''),
  options: optionsSchema.default({}),
});

export type RequestBody = z.input<typeof bodySchema>;

/** @throws Usage */
export function parseRequestBody(body: unknown, requester: Requester): Request {
  const { type, id, text, options } = parsed(bodySchema, body);
  const found = requestNamed(String(type));
  if (found === undefined && typeof type === 'string')
    throw usage(`type: there is no request called ${type}`);
  const number = found === undefined ? Number(type) : requestNumbers[found];
  return { id, number, requester, command: found && commandOf(found, text, options) };
}

function commandOf(type: RequestName, text: string, options: SnapshotOptions): ControlCommand {
  checkOptions(type, options);
  const ofStore = options.store === undefined ? {} : { store: options.store };
  switch (type) {
    case 'snapshot':
      return { type, guest: needed(text, 'the name of a guest'), options };
    case 'verify':
      if (text.includes('@')) return { type, snapshot: text, ...ofStore };
      if (options.store !== undefined) throw usage('options: a store belongs to one snapshot');
      return { type, guest: text === '' ? null : text };
    case 'drill':
      return { type, snapshot: needed(text, 'the name of a snapshot'), ...ofStore };
    case 'prune':
      return {
        ...{ type, guest: text === '' ? null : text, dryRun: options.dryRun ?? false },
        ...(options.clockIsRight && { clockIsRight: true }),
      };
    case 'status':
      return { type, guest: text === '' ? null : text };
    case 'cancel':
      if (!/^[1-9]\d{0,9}$/.test(text)) throw usage('text: must be the id of a request');
      return { type, of: Number(text) };
  }
}

/** An option that would be passed over is a mistake of whoever asks. */
function checkOptions(type: RequestName, options: SnapshotOptions): void {
  const known: Partial<Record<RequestName, string[]>> = {
    ...{ prune: ['dryRun', 'clockIsRight'], verify: ['store'], drill: ['store'] },
  };
  const stray = Object.keys(options).find((key) =>
    type === 'snapshot' ? key === 'clockIsRight' : !known[type]?.includes(key),
  );
  if (stray !== undefined) throw usage(`options: a ${type} has no ${stray}`);
}

function needed(text: string, what: string): string {
  if (text === '') throw usage(`text: must be ${what}`);
  return text;
}

const settingsSchema = z.strictObject({
  debug: z.boolean().exactOptional(),
  keep: z.boolean().exactOptional(),
  delaySeconds: z.int().min(1).max(longestDelaySeconds).exactOptional(),
  type: z.int().min(-largestType).max(largestType).exactOptional(),
});

/** @throws Usage */
export function parseSettingsBody(body: unknown): Partial<Settings> {
  return parsed(settingsSchema, body);
}

function parsed<S extends z.ZodType>(schema: S, body: unknown): z.output<S> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw usage(`${issue?.path.join('.') || 'the body'}: ${issue?.message ?? 'is not what it should be'}`);
}

function usage(problem: string): UmlsnapError<'Usage'> {
  return new UmlsnapError('Usage', { problem: `${problem}.` });
}
