import { execa } from 'execa';

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
export async function tryTool(command: string, args: string[], limitMs = 60_000): Promise<ToolResult> {
  const result = await execa(command, args, {
    env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LC_ALL: 'C' },
    stdin: 'ignore',
    timeout: limitMs,
    encoding: 'buffer',
    maxBuffer: 2 ** 30,
    stripFinalNewline: false,
    reject: false,
  });
  if (result.exitCode === undefined) throw new Error(`${command} ${args.join(' ')}: ${result.shortMessage}`);
  const stdout = Buffer.from(result.stdout);
  return { exitCode: result.exitCode, stdout, output: `${stdout}${Buffer.from(result.stderr)}` };
}

/** As `tryTool`, and gives its standard output. @throws Error with its output when it does not exit 0 */
export async function runTool(command: string, args: string[], limitMs?: number): Promise<Buffer> {
  const { exitCode, stdout, output } = await tryTool(command, args, limitMs);
  if (exitCode !== 0) throw new Error(`${command} ${args.join(' ')} exited ${exitCode}: ${output.trim()}`);
  return stdout;
}
