import { join } from 'node:path';
import { runTool, tryTool } from './run-tool.js';
import { withTempDir } from './temp-dir.js';

interface Inspection {
  clean: boolean;
  /** What the checker said, for the message of a failed expectation. */
  output: string;
}

const limitMs = 5 * 60_000;

/** Is the ext4 filesystem of the image sound once its journal is replayed? The image itself is left alone. */
export function e2fsckReplayed(image: string): Promise<Inspection> {
  return withReplayedCopy(image, async (copy, replay) => {
    const { exitCode, output } = await tryTool('e2fsck', ['-fn', copy], limitMs);
    return { clean: exitCode === 0, output: `${replay}${output}` };
  });
}

/** Is the image as it lies there sound, without so much as a journal to replay? */
export async function rawClean(image: string): Promise<Inspection> {
  const features = (await runTool('dumpe2fs', ['-h', image], limitMs)).toString();
  const { exitCode, output } = await tryTool('e2fsck', ['-fn', image], limitMs);
  const journal = /^Filesystem features:.*\bneeds_recovery\b/m.test(features) ? 'journal to replay\n' : '';
  return { clean: exitCode === 0 && journal === '', output: `${journal}${output}` };
}

/** The file's bytes as the image holds them after its journal is replayed; undefined when there is no such file. */
export function readFileFromImage(image: string, path: string): Promise<Buffer | undefined> {
  return withReplayedCopy(image, async (copy) => {
    const { output } = await tryTool('debugfs', ['-R', `stat ${path}`, copy], limitMs);
    if (/File not found/.test(output)) return undefined;
    return runTool('debugfs', ['-R', `cat ${path}`, copy], limitMs);
  });
}

/** Has debugfs change an image. */
export const debugfs = (image: string, ...requests: string[]) =>
  runTool('sh', ['-c', 'printf "%s\\n" "$@" | debugfs -w "$0"', image, ...requests]);

/** Writes what a COW file and its backing file make together to `to`, which can then be inspected like any image. */
export async function mergeCow(cow: string, backing: string, to: string): Promise<void> {
  await runTool('uml_moo', ['-b', backing, cow, to], limitMs);
}

function withReplayedCopy<T>(image: string, use: (copy: string, output: string) => Promise<T>): Promise<T> {
  return withTempDir(async (dir) => {
    const copy = join(dir, 'copy.img');
    await runTool('cp', ['--sparse=always', '--reflink=auto', image, copy], limitMs);
    // 1 says that the replay corrected something, as it is there to do. With -f or -y all else would be repaired as well, and the
    // check after it could find nothing.
    const { exitCode, output } = await tryTool('e2fsck', ['-p', '-E', 'journal_only', copy], limitMs);
    return use(copy, exitCode > 1 ? `replaying the journal exited ${exitCode}: ${output}` : output);
  });
}
