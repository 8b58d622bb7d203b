import { isIP, isIPv4 } from 'node:net';
import * as z from 'zod';
import type { DashboardConfig } from './config.js';
import { pathField } from './fields.js';

/** The `dashboard` of the config: where pages and metrics are served beside the control socket. */

/** Numbers only: what a name comes to is decided elsewhere, and may change. */
const listenField = z.string().transform((value, context): { address: string; port: number } => {
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(value) ?? [];
  const address = bracketed ?? plain ?? '';
  const port = Number(digits);
  const isAddress = bracketed === undefined ? isIPv4(address) : isIP(address) === 6;
  if (isAddress && port <= 65_535) return { address, port };
  context.addIssue('must be an address and a port, such as 127.0.0.1:8460 or [::1]:8460');
  return z.NEVER;
});

const hostField = z
  .string()
  .regex(/^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/, 'must be a name of this host, without a port')
  .transform((name) => name.toLowerCase());

export const dashboardSchema = z.strictObject({
  listen: listenField.exactOptional(),
  tokenFile: pathField.exactOptional(),
  hosts: z.array(hostField).exactOptional(),
  readWithoutToken: z.boolean().exactOptional(),
});

type DashboardInput = z.infer<typeof dashboardSchema>;

/** `false`, or a map of its keys. */
export const dashboardField = z.unknown().transform((value, context): DashboardInput | false => {
  if (value === false) return false;
  const parsed = dashboardSchema.safeParse(value, { reportInput: true });
  if (!parsed.success) {
    context.issues.push(...(parsed.error.issues as z.core.$ZodRawIssue[]));
    return z.NEVER;
  }
  const { listen, readWithoutToken } = parsed.data;
  if (readWithoutToken && !isLoopback((listen ?? defaultListen).address)) {
    const message = 'is for a loopback address only: anybody else needs a token to read';
    context.issues.push({ code: 'custom', path: ['readWithoutToken'], message, input: value });
  }
  return parsed.data;
});

const defaultListen = { address: '127.0.0.1', port: 8460 };

export function resolveDashboard(
  input: DashboardInput | false | undefined,
  defaultTokenFile: string,
): DashboardConfig | null {
  if (input === false) return null;
  return {
    ...(input?.listen ?? defaultListen),
    tokenFile: input?.tokenFile ?? defaultTokenFile,
    hosts: input?.hosts ?? [],
    readWithoutToken: input?.readWithoutToken ?? false,
  };
}

/** An address that nobody outside of this host can reach. */
export function isLoopback(address: string): boolean {
  return address === '::1' || (isIPv4(address) && address.startsWith('127.'));
}
