/** Where YAML editors look for the schema of a file. */
export const schemaComment = (path: string): string => `# yaml-language-server: $schema=${path}`;
