/** The stores of a config, after defaults are applied. Plain data. */
export type StoreConfig = DirectoryStoreConfig | TarStoreConfig | ResticStoreConfig;

/** Snapshots as directories of plain image files: what a guest is captured into. */
export interface DirectoryStoreConfig {
  name: string;
  type: 'directory';
  path: string;
}

/**
 * The disks of any guest that was heard of, and a few hours of hashing zeros: whoever forges a snapshot can have as much work
 * done for a few KiB, and no more.
 */
export const defaultLargestSnapshotBytes = 4 * 2 ** 40;

export type Compression = 'zstd' | 'gzip' | 'none';

/** One archive for each snapshot, in a directory. */
export interface TarStoreConfig {
  name: string;
  type: 'tar';
  path: string;
  compression: Compression;
  /** Where a guest is captured that has no directory store before this one; absolute. */
  staging: string;
}

/** A repository of restic, wherever restic can have one. */
export interface ResticStoreConfig {
  name: string;
  type: 'restic';
  /** As restic's own `--repo`: a path, `sftp:…`, `s3:…`, `rest:…`, `rclone:…`. */
  repository: string;
  /** Exactly one of the two is set: passwords stand in no config. */
  passwordFile: string | null;
  /** A program and its arguments, which prints the password. */
  passwordCommand: string[] | null;
  /** A file of `NAME=VALUE` lines for restic's environment, for the keys of a remote place; null: none. */
  environmentFile: string | null;
  /** As for a tar store. */
  staging: string;
}
