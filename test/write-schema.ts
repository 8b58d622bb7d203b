import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { configJsonSchema } from '../src/config/json-schema.js';

/** `npm run schema`: writes docs/config.schema.json anew, after a key of the config or its comment has changed. */

const root = resolve(import.meta.dirname, '..');
const example = await readFile(join(root, 'config.example.yaml'), 'utf8');
await writeFile(
  join(root, 'docs/config.schema.json'),
  `${JSON.stringify(configJsonSchema(example), null, 2)}\n`,
);
