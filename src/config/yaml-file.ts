import { open } from 'node:fs/promises';
import type { Node } from 'yaml';
import { isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseAllDocuments, parseDocument } from 'yaml';
import { type ConfigProblem, errnoOf, problemOf, UmlsnapError } from '../errors.js';

/** A YAML file as plain data, and the way back from a path in that data to its line. */
export interface YamlFile {
  value: unknown;
  /** A problem at this path: at the value, or at the key itself. The nearest thing that stands in the file has the line. */
  problemAt(path: readonly PropertyKey[], message: string, at?: 'value' | 'key'): ConfigProblem;
}

/** A config of a thousand guests has some 200 KiB: whatever is larger is another file. */
const maxSizeBytes = 1024 * 1024;

/** @throws ConfigNotFound, and ConfigInvalid when the file can't be read or is not one sound YAML document */
export async function readYamlFile(file: string): Promise<YamlFile> {
  const text = decode(file, await readBounded(file));
  const lines = new LineCounter();
  const documents = parsing(file, () => parseAllDocuments(text, { lineCounter: lines, prettyErrors: false }));
  const [document, second] = Array.isArray(documents) ? documents : [];
  if (document === undefined) throw invalid(file, 'the file is empty');

  const problems = [...document.errors, ...document.warnings].map(({ pos: [offset], message }) => ({
    ...positionOf(lines, offset),
    path: '',
    message,
  }));
  if (second !== undefined) {
    const { line, column } = positionOf(lines, second.range[0]);
    problems.push({
      line,
      column,
      path: '',
      message: 'a second YAML document begins here: the config is one',
    });
  }
  if (problems.length > 0) throw new UmlsnapError('ConfigInvalid', { file, problems });
  if (document.contents === null) throw invalid(file, 'the file is empty');

  // The bound on aliases is yaml's own: it ends documents that grow without end when their aliases are followed.
  const value: unknown = parsing(file, () => document.toJS({ maxAliasCount: 100 }));
  const root = document.contents;
  return {
    value,
    problemAt: (path, message, at = 'value') => ({
      ...positionOf(lines, offsetOf(root, path, at)),
      path: path.map(String).join('.'),
      message,
    }),
  };
}

/** What can be made out of a file that is no sound config; undefined: nothing. @throws as `readYamlFile`, where it can't be read */
export async function valueDespiteProblems(file: string): Promise<unknown> {
  const text = decode(file, await readBounded(file));
  return parsing(file, () => parseDocument(text).toJS({ maxAliasCount: 100 }));
}

async function readBounded(file: string): Promise<Buffer> {
  try {
    const handle = await open(file, 'r');
    try {
      const buffer = Buffer.alloc(maxSizeBytes + 1);
      let sizeBytes = 0;
      while (sizeBytes < buffer.length) {
        const { bytesRead } = await handle.read(buffer, sizeBytes, buffer.length - sizeBytes, null);
        if (bytesRead === 0) return buffer.subarray(0, sizeBytes);
        sizeBytes += bytesRead;
      }
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw new UmlsnapError('ConfigNotFound', { tried: [file] }, error);
    throw invalid(file, `the file can't be read: ${problemOf(error)}`, error);
  }
  throw invalid(file, 'the file is larger than 1 MiB, which no config is');
}

function decode(file: string, bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw invalid(file, 'the file is not UTF-8 text', error);
  }
}

/** yaml throws on too many aliases, and runs out of stack on a document that is nested a thousand times. */
function parsing<T>(file: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw invalid(file, `the file can't be read as YAML: ${problemOf(error)}`, error);
  }
}

function invalid(file: string, message: string, cause?: unknown): UmlsnapError<'ConfigInvalid'> {
  return new UmlsnapError(
    'ConfigInvalid',
    { file, problems: [{ line: 0, column: 0, path: '', message }] },
    cause,
  );
}

function positionOf(lines: LineCounter, offset: number): { line: number; column: number } {
  const { line, col } = lines.linePos(offset);
  return { line, column: col };
}

/** Where the deepest part of `path` that stands in the file begins. What an alias stands for is reported at the alias. */
function offsetOf(root: Node, path: readonly PropertyKey[], at: 'value' | 'key'): number {
  let node: Node = root;
  let offset = startOf(root) ?? 0;
  for (const [depth, part] of path.entries()) {
    if (isAlias(node)) return offset;
    const child = childOf(node, part);
    if (child === undefined) return offset;
    const isLast = depth === path.length - 1;
    offset = (isLast && at === 'key' ? child.keyOffset : (startOf(child.value) ?? child.keyOffset)) ?? offset;
    if (child.value === null) return offset;
    node = child.value;
  }
  return offset;
}

function childOf(
  node: Node,
  part: PropertyKey,
): { keyOffset: number | undefined; value: Node | null } | undefined {
  if (isSeq(node)) {
    const item = node.items[Number(part)];
    return isNode(item) ? { keyOffset: startOf(item), value: item } : undefined;
  }
  if (!isMap(node)) return undefined;
  const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(part));
  if (pair === undefined) return undefined;
  return {
    keyOffset: isNode(pair.key) ? startOf(pair.key) : undefined,
    value: isNode(pair.value) ? pair.value : null,
  };
}

function startOf(node: Node | null): number | undefined {
  return node?.range?.[0];
}
