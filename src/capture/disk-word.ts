import { UmlsnapError } from '../errors.js';
import { describeFailure } from './describe-failure.js';

/** What a child that captures says is wrong with a disk or its copy: the end of the capture. */
export type DiskWord =
  | { is: 'changed'; device: string; problem: string }
  | { is: 'failed'; device: string; message: string; code: string | undefined; syscall: string | undefined };

/** The error that goes with a child's last word; one that is none of these was said out of turn. */
export function errorOfWord(guest: string, word: DiskWord | { is: string }): UmlsnapError {
  if (isChanged(word))
    return new UmlsnapError('SourceChanged', { guest, device: word.device, problem: word.problem });
  if (isFailed(word))
    return new UmlsnapError('CaptureFailed', { guest, device: word.device, problem: describeFailure(word) });
  return new UmlsnapError('Internal', { problem: `the capture process said ${word.is} out of turn` });
}

type Word<Is extends DiskWord['is']> = Extract<DiskWord, { is: Is }>;
const isChanged = (word: { is: string }): word is Word<'changed'> => word.is === 'changed';
const isFailed = (word: { is: string }): word is Word<'failed'> => word.is === 'failed';
