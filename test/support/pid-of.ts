/**
 * The pid of a child that was started.
 * @throws when it could not be: a kill of "no pid", which is -1, would end every process of the machine
 */
export function pidOf(child: { readonly pid?: number | undefined }): number {
  if (child.pid !== undefined) return child.pid;
  throw new Error('the child could not be started');
}
