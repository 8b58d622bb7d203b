/** The directory of a repository on this host; undefined for any other place. */
export function localDirectory(repository: string): string | undefined {
  if (repository.startsWith('local:')) return repository.slice('local:'.length);
  return repository.startsWith('/') ? repository : undefined;
}

/** A repository's address as anybody may see it: `rest:https://user:password@host/` carries a password. */
export function shownRepository(repository: string): string {
  return repository.replace(/\/\/[^/@]*@/, '//***@');
}
