import type { z } from 'zod';
import type { Report } from './report.js';

/** Reports what zod found, in the words of a YAML file. */
export function reportIssues(issues: readonly z.core.$ZodIssue[], report: Report): void {
  for (const issue of issues) {
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) report([...issue.path, key], 'is no key that umlsnap knows here', 'key');
    } else {
      report([...issue.path], messageOf(issue));
    }
  }
}

const wordByType: Record<string, string> = {
  object: 'a map of keys and values',
  record: 'a map of keys and values',
  string: 'text (put it in quotes)',
  boolean: 'true or false',
  number: 'a number',
  int: 'a whole number',
};

/** The fields' own messages begin with `must`; zod's don't. */
function messageOf(issue: z.core.$ZodIssue): string {
  if (issue.message.startsWith('must')) return issue.message;
  switch (issue.code) {
    case 'invalid_type':
      return `${issue.input === undefined ? 'is missing: it ' : ''}must be ${wordByType[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return `must be one of ${issue.values.join(', ')}`;
    case 'too_small':
      return `must be ${issue.minimum} or more`;
    case 'too_big':
      return `must be ${issue.maximum} or less`;
    default:
      return issue.message;
  }
}
