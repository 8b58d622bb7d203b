import { execa } from 'execa';

/** Compressed by the program, as somebody by hand would. */
export async function zstdOf(bytes: Buffer): Promise<Buffer> {
  const { stdout } = await execa('zstd', ['-q', '-c'], {
    input: bytes,
    encoding: 'buffer',
    stripFinalNewline: false,
  });
  return Buffer.from(stdout);
}
