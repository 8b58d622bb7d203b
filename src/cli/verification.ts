import type { FilesystemRecord, VerificationRecord, VerifyResult } from '../history/records.js';

/** How verifications look to people. */

const resultTexts: Record<VerifyResult, string> = {
  ok: 'ok',
  damaged: 'DAMAGED',
  badFilesystem: 'BAD FILESYSTEM',
  notRead: 'not read',
};

/** In a table. */
export const resultText = (verification: VerificationRecord | null): string =>
  verification === null ? '-' : resultTexts[verification.result];

/** `ubd0: ext4 is sound` */
export function describeFilesystem({ disk, type, verdict, reason }: FilesystemRecord): string {
  const why = reason === null ? '' : `: ${reason}`;
  switch (verdict) {
    case 'sound':
      return `${disk}: ${type} is sound${why}`;
    case 'bad':
      return `${disk}: ${type} IS NOT SOUND${why}`;
    case 'unproven':
      return `${disk}: ${type} not proven${why}`;
    case 'none':
      return `${disk}: no filesystem known (${type})${why}`;
    case 'notChecked':
      return `${disk}: filesystem not checked${why}`;
  }
}
