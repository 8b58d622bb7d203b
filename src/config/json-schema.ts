import * as z from 'zod';
import { keyPatterns } from './key-checks.js';
import { configSchema } from './schema.js';

/** A JSON Schema, as far as this file looks at it. */
interface Node {
  type?: unknown;
  properties?: Record<string, Node>;
  additionalProperties?: Node | false;
  propertyNames?: { type?: string; pattern?: string };
  anyOf?: Node[];
  oneOf?: Node[];
  [keyword: string]: unknown;
}

/**
 * The JSON Schema of the config file, for editors: they complete keys and values by it, and mark what is wrong. It knows less
 * than `loadConfig`, which also holds the parts of a config against each other. Each key has its comment of the example.
 * @param example the text of config.example.yaml
 */
export function configJsonSchema(example: string): Node {
  const schema = z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' }) as Node;
  const comments = commentsOf(example);
  visit(schema, [], ([section = '', ...inner], node) => {
    const name = inner.at(-1) ?? section;
    if (name === 'store' && node.type === undefined) node.anyOf = nameOrList;
    if (name === 'stores' || name === 'guests') node.propertyNames = patternOf(keyPatterns.name);
    if (name === 'labels') node.propertyNames = patternOf(keyPatterns.label);
    if (name === 'disks') letDisksBePaths(node);
    // What every guest may have stands explained under `defaults`.
    const description = comments.get(`${section} ${name}`) ?? comments.get(`defaults ${name}`);
    if (description !== undefined) node.description = description;
  });
  return { title: "umlsnap's config", ...schema };
}

const nameOrList: Node[] = [{ type: 'string' }, { type: 'array', items: { type: 'string' }, minItems: 1 }];

const patternOf = ({ source }: RegExp) => ({ pattern: source });

/** `PATH` for a raw disk: what a preprocessing makes of it can't be seen from outside. */
function letDisksBePaths(disks: Node): void {
  disks.propertyNames = patternOf(keyPatterns.device);
  disks.minProperties = 1;
  const { additionalProperties: cow } = disks;
  if (cow) disks.additionalProperties = { anyOf: [{ type: 'string', pattern: '^/' }, cow] };
}

/** Every property of every object, outermost first, with the names of those that it stands in. */
function visit(node: Node, path: string[], take: (path: string[], property: Node) => void): void {
  for (const [name, property] of Object.entries(node.properties ?? {})) {
    take([...path, name], property);
    visit(property, [...path, name], take);
  }
  const { additionalProperties, anyOf = [], oneOf = [] } = node;
  for (const inner of [additionalProperties, ...anyOf, ...oneOf]) if (inner) visit(inner, path, take);
}

/** By section of the file and key, the comment right above the first line that has it. */
function commentsOf(example: string): Map<string, string> {
  const comments = new Map<string, string>();
  let section = '';
  let above: string[] = [];
  for (const line of example.split('\n')) {
    const [, comment] = /^\s*# ?(.*)$/.exec(line) ?? [];
    const [, indent, key] = /^(\s*)([A-Za-z]+):/.exec(line) ?? [];
    if (comment !== undefined) {
      above.push(comment);
      continue;
    }
    if (key !== undefined && indent === '') section = key;
    const place = `${section} ${key}`;
    if (key !== undefined && above.length > 0 && !comments.has(place)) comments.set(place, above.join(' '));
    above = [];
  }
  return comments;
}
