import { fileURLToPath } from 'node:url';

/** The project's own directory: the build is in its `dist`, and a test runs this very file in its `src`. */
const root = /^.*\/(?=(?:dist|src)\/)/s.exec(import.meta.url)?.[0] ?? import.meta.url;

/** A file of the project by its path, wherever it is installed. */
export const ownFile = (path: string): string => fileURLToPath(new URL(path, root));

/**
 * The built script of a child process or a worker. Tests that load the modules' sources get the built child too: a bare node can't
 * run a source, and the tests build before they run.
 */
export const processEntry = (name: string): string => ownFile(`dist/${name}.js`);
