import { UmlsnapError } from '../../errors.js';
import { manifestName } from '../layout.js';
import type { Manifest } from '../manifest.js';

/** A file that an archive holds beside the manifest, as the manifest describes it. */
export interface ArchiveFile {
  kind: 'disk' | 'backing';
  /** `ubd0.img`, `backing/SHA256.img` */
  entryName: string;
  /** Its name in the manifest. */
  file: string;
  sizeBytes: number;
  mtime: string;
  sha256: string;
  dataSha256: string | undefined;
}

/**
 * The files that the archive of a snapshot holds, once each and in this order: disks, then what they stand on.
 * @throws SnapshotDamaged for a manifest that gives one name to two files
 */
export function archiveFiles({ snapshot, disks }: Manifest): ArchiveFile[] {
  const files = new Map<string, ArchiveFile>();
  for (const { file, sizeBytes, mtime, sha256, dataSha256 } of disks) {
    if (files.has(file) || file === manifestName) throw ambiguous(snapshot, file);
    files.set(file, { kind: 'disk', entryName: file, file, sizeBytes, mtime, sha256, dataSha256 });
  }
  for (const { backing } of disks) {
    if (backing === undefined) continue;
    const { file, sizeBytes, mtime, sha256, dataSha256 } = backing;
    const entryName = `backing/${file}`;
    const known = files.get(entryName);
    if (known !== undefined && (known.sha256 !== sha256 || known.sizeBytes !== sizeBytes)) {
      throw ambiguous(snapshot, entryName);
    }
    files.set(entryName, { kind: 'backing', entryName, file, sizeBytes, mtime, sha256, dataSha256 });
  }
  return [...files.values()];
}

function ambiguous(snapshot: string, name: string): UmlsnapError {
  const problem = `its manifest gives the name ${name} to more than one file`;
  return new UmlsnapError('SnapshotDamaged', { snapshot, problem });
}
