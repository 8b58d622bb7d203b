import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The files that pages are made of beside their HTML; they lie beside this one. */
const typeByName = {
  'style.css': 'text/css; charset=utf-8',
  'live.js': 'text/javascript; charset=utf-8',
  'icon.svg': 'image/svg+xml',
} as const;

type AssetName = keyof typeof typeByName;

export interface Asset {
  type: string;
  bytes: Buffer;
  /** Changes with its content. */
  version: string;
}

const loaded = new Map<string, Asset>();

/** undefined: there is none of this name. */
export function assetNamed(name: string): Asset | undefined {
  if (!Object.hasOwn(typeByName, name)) return undefined;
  return load(name as AssetName);
}

/** With its version, so that browsers may keep what they have. */
export const assetUrl = (name: AssetName): string => `/assets/${name}?${load(name).version}`;

function load(name: AssetName): Asset {
  const known = loaded.get(name);
  if (known) return known;
  const bytes = readFileSync(fileURLToPath(new URL(`assets/${name}`, import.meta.url)));
  const version = createHash('sha256').update(bytes).digest('hex').slice(0, 12);
  const asset = { type: typeByName[name], bytes, version };
  loaded.set(name, asset);
  return asset;
}
