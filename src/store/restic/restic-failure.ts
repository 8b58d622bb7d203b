import { statfs } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { UmlsnapError } from '../../errors.js';
import type { StorePlace } from '../layout.js';
import type { OutOfPatience } from './restic-patience.js';
import { localDirectory } from './restic-place.js';

/**
 * What restic says of a failure, by its exit code (from 0.17 on) and by its words (before). Its words are for people, and
 * differ from one kind of place to the next: what is not recognised is passed on as it is.
 */
export type ResticFailure =
  | 'noRepository'
  | 'wrongPassword'
  | 'locked'
  | 'full'
  | 'dataDamaged'
  | 'notInstalled'
  | 'other';

const byExitCode: Partial<Record<number, ResticFailure>> = {
  10: 'noRepository',
  11: 'locked',
  12: 'wrongPassword',
};

/** A place that can't be reached is no place without a repository: only what says that nothing is there counts. */
const noConfig =
  /unable to open config file:.*(?:no such file or directory|does not exist|NoSuchKey|NoSuchBucket|\b404\b)/is;
const damaged =
  /ciphertext verification failed|hash does not match|wrong hash|does not match id|invalid data returned|not found in (?:the )?(?:index|repository)|Pack ID does not match|\bEOF\b|file is too short|no such file or directory|does not exist|\b404\b|repository contains errors|invalid character|panic: runtime error|Fatal: unable to load/i;

export function failureOf({ facts }: UmlsnapError<'CommandFailed'>): ResticFailure {
  const { exitCode, problem } = facts;
  const known = exitCode === null ? undefined : byExitCode[exitCode];
  if (known !== undefined) return known;
  if (/it is not installed/.test(problem)) return 'notInstalled';
  if (/wrong password or no key found/i.test(problem)) return 'wrongPassword';
  if (/repository is already locked/i.test(problem)) return 'locked';
  if (/no space left on device|disk quota exceeded|507 Insufficient/i.test(problem)) return 'full';
  if (noConfig.test(problem)) return 'noRepository';
  return isDamage(problem) ? 'dataDamaged' : 'other';
}

/**
 * Words for data that is there no more, or not as restic wrote it; said of a place that answers. 0.18 panics over a directory that
 * it can't read.
 */
export function isDamage(text: string): boolean {
  return damaged.test(text) && !/unable to open config file|connection refused|no such host/i.test(text);
}

/** What restic said, for the `problem` of an error: a panic of it has pages. */
export function inOneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' / ').slice(0, 400);
}

/** The error of a store for what restic said. @param place its path without a password in it */
export async function storeError(
  place: StorePlace,
  error: UmlsnapError<'CommandFailed'>,
): Promise<UmlsnapError> {
  const { name: store, path } = place;
  const said = inOneLine(error.facts.problem);
  const unusable = (problem: string) => new UmlsnapError('StoreUnusable', { store, path, problem });
  const failure = failureOf(error);
  if (failure === 'noRepository')
    return new UmlsnapError('StoreNotMounted', { store, path, problem: `no repository of restic (${said})` });
  if (failure === 'full') return await tooFull(place, said);
  if (failure === 'notInstalled') return unusable('restic is not installed, or not on the PATH: install it');
  if (failure === 'wrongPassword')
    return unusable('the password does not open it: look at passwordFile or passwordCommand');
  if (failure === 'locked')
    return unusable(
      `another restic has it locked (${said}): wait until that has ended; if it is dead, run \`restic unlock\``,
    );
  return unusable(
    `restic failed${error.facts.exitCode === null ? '' : ` with ${error.facts.exitCode}`}: ${said}`,
  );
}

/** What restic writes at a time, unless it is told otherwise; up to 0.13 it was less. */
const packBytes = 16 * 1024 * 1024;

/**
 * The error of a store whose restic was ended because it got nowhere. On a place that fills up 0.14 hangs, without a word, when
 * several of its packs fail at once (seen in two of eight runs of its test): a place that has no room for one more is taken for full.
 */
export async function nowhereError(
  place: StorePlace,
  { said, wasSilent }: OutOfPatience,
): Promise<UmlsnapError> {
  const directory = wasSilent ? localDirectory(place.path) : undefined;
  const room = directory === undefined ? undefined : await roomIn(directory);
  if (room !== undefined && room.freeBytes < packBytes) return tooFullWith(place, room);
  const facts = { command: 'restic', exitCode: null, problem: `it got nowhere: ${said}` };
  return await storeError(place, new UmlsnapError('CommandFailed', facts));
}

async function tooFull(place: StorePlace, said: string): Promise<UmlsnapError> {
  const { name: store, path } = place;
  const directory = localDirectory(path);
  const room = directory === undefined ? undefined : await roomIn(directory);
  if (room !== undefined) return tooFullWith(place, room);
  return new UmlsnapError('StoreUnusable', { store, path, problem: `no room: ${said}` });
}

interface Room {
  freeBytes: number;
  freeInodes: number;
}

function tooFullWith({ name: store, path }: StorePlace, room: Room): UmlsnapError {
  // How much restic wanted to write, nobody knows.
  return new UmlsnapError('StoreTooFull', { store, path, neededBytes: 0, ...room });
}

/** A place that is gone silent, as a file server that is away, may not tell either. */
const roomPatienceMs = 5000;

async function roomIn(directory: string): Promise<Room | undefined> {
  const asked = statfs(directory).then(
    ({ bavail, bsize, ffree }) => ({ freeBytes: bavail * bsize, freeInodes: ffree }),
    () => undefined,
  );
  return await Promise.race([asked, sleep(roomPatienceMs, undefined, { ref: false })]);
}
