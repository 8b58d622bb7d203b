import { execFile } from 'node:child_process';

export interface ToolResult {
  exitCode: number;
  stdout: Buffer;
  /** stdout and stderr as text, for a message. */
  output: string;
}

/**
 * Runs a program of the host and gives its result, also when it fails. /sbin is searched as well.
 * @throws Error when it can't be started, or is still running after `limitMs`
 */
export function tryTool(command: string, args: string[], limitMs = 60_000): Promise<ToolResult> {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LC_ALL: 'C' };
  const options = { env, timeout: limitMs, encoding: 'buffer', maxBuffer: 2 ** 30 } as const;
  return new Promise((resolve, reject) => {
    execFile(command, args, options, (error, stdout, stderr) => {
      const exitCode = error === null ? 0 : error.code;
      if (typeof exitCode !== 'number') reject(new Error(`${command} ${args.join(' ')}: ${error?.message}`));
      else resolve({ exitCode, stdout, output: `${stdout}${stderr}` });
    }).stdin?.end();
  });
}

/** As `tryTool`, and gives its standard output. @throws Error with its output when it does not exit 0 */
export async function runTool(command: string, args: string[], limitMs?: number): Promise<Buffer> {
  const { exitCode, stdout, output } = await tryTool(command, args, limitMs);
  if (exitCode !== 0) throw new Error(`${command} ${args.join(' ')} exited ${exitCode}: ${output.trim()}`);
  return stdout;
}
