import { type RunningDigest, startDigestThread } from '../../image/digest-thread.js';
import type { ArchiveFile } from './archive-files.js';

/** Holds an image that passes by against its manifest. Where the manifest has one, by the digest that skips holes. */
export interface ContentCheck {
  update(offset: number, bytes: Uint8Array): Promise<void>;
  /** What is wrong with what has passed, for people; null when it is what the manifest says. */
  problem(): Promise<string | null>;
  /** MUST be called in the end, and may be at any time. */
  end(): Promise<void>;
}

export function checkContent(file: ArchiveFile): ContentCheck {
  const kind = file.dataSha256 === undefined ? 'whole' : 'data';
  const { digest, end } = startDigestThread(kind);
  return {
    update: (offset, bytes) => digest.update(offset, bytes),
    problem: () => differenceOf(file, digest),
    end,
  };
}

async function differenceOf(file: ArchiveFile, digest: RunningDigest): Promise<string | null> {
  const found = await digest.finish(file.sizeBytes);
  return found === (file.dataSha256 ?? file.sha256) ? null : `${file.entryName} does not match its checksum`;
}
