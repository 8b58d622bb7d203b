import { createTask, validateDetailed } from 'node-cron';

/** Why this can't be a schedule, or null when it can: node-cron must read it, and it must come up one day. */
export function problemOfCronExpression(expression: string): string | null {
  const { valid, errors } = validateDetailed(expression);
  if (!valid) {
    const details = errors.map(({ field, value, message }) =>
      field === 'expression' ? message : `${field} can't be "${value}"`,
    );
    return `is no cron expression: ${details.join('; ')}`;
  }
  return comesUp(expression) ? null : 'never comes up: no such day in a hundred years';
}

/** The 30th weekday of February passes node-cron's validation, and throws when the next run is looked for. */
function comesUp(expression: string): boolean {
  const task = createTask(expression, () => undefined, { timezone: 'UTC' });
  try {
    return task.getNextRuns(1).length > 0;
  } catch {
    return false;
  } finally {
    void task.destroy();
  }
}

/** True for a time zone that this system knows, by its IANA name. */
export function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
