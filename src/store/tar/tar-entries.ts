import { extract, type Header } from 'tar-stream';

/** A tar as a stream of its entries, whatever is in them: what tar-stream does not do by itself when bytes, or we, stop in the middle. */

export interface TarEntry {
  header: Header;
  body: AsyncIterable<Buffer>;
}

/** The entries of a tar as they come; one whose body was not read to its end is passed over. */
export async function* tarEntries(chunks: AsyncGenerator<Buffer>): AsyncGenerator<TarEntry> {
  const parser = extract();
  const failure = firstError(parser);
  const feeding = feed(chunks, parser);
  // Told when the entries are at their end, or of no interest any more.
  feeding.catch(() => undefined);
  try {
    for await (const source of parser) {
      yield { header: source.header, body: bodyOf(source as AsyncIterable<Buffer>, failure) };
      source.resume();
    }
    await feeding;
  } finally {
    parser.destroy();
    await feeding.catch(() => undefined);
  }
}

/** Of a stream that breaks in the middle of an entry, the entry says only that it is gone: the parser knows why. */
async function* bodyOf(source: AsyncIterable<Buffer>, failure: Promise<unknown>): AsyncGenerator<Buffer> {
  try {
    yield* source;
  } catch (error) {
    throw (await failure) ?? error;
  }
}

/** What the parser ended with; undefined when it came to no harm. */
function firstError(parser: ReturnType<typeof extract>): Promise<unknown> {
  return new Promise((resolve) => {
    parser.once('error', resolve);
    parser.once('close', () => resolve(undefined));
  });
}

/** Whatever speaks against the bytes becomes the parser's error, and so that of whoever reads from it. */
async function feed(chunks: AsyncGenerator<Buffer>, parser: ReturnType<typeof extract>): Promise<void> {
  const gone = new Promise<void>((resolve) => parser.once('close', () => resolve()));
  try {
    for await (const chunk of chunks) {
      if (parser.destroying) return;
      if (parser.write(chunk)) continue;
      await Promise.race([new Promise<void>((resolve) => parser.once('drain', () => resolve())), gone]);
    }
    parser.end(undefined);
  } catch (error) {
    parser.destroy(error instanceof Error ? error : new Error(String(error)));
    throw error;
  }
}

/** tar-stream's errors have no class and no code. Source: its extract.js and headers.js. */
export function isParserError(error: unknown): boolean {
  return (
    error instanceof Error &&
    /^(Invalid tar header|Invalid header|Header exceeds max size|Unexpected end of data)/.test(error.message)
  );
}
