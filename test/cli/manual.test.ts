import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { exitCodes } from '../../src/exit-codes.js';
import { runCli } from '../support/cli.js';
import { runTool, tryTool } from '../support/run-tool.js';

const file = join(resolve(import.meta.dirname, '../..'), 'docs/umlsnap.1');

/** As a terminal shows it, without its bold and underlined letters. */
async function rendered(): Promise<string> {
  const shown = (await runTool('mandoc', ['-T', 'ascii', '-O', 'width=200', file])).toString();
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a letter over itself is a bold one
  return shown.replace(/.\x08/g, '');
}

test('the shipped manual is that of this command line: npm run manual writes it anew', async () => {
  const { exitCode, stdout } = await runCli(['__manual']);
  expect(exitCode).toBe(0);
  expect(await readFile(file, 'utf8')).toBe(stdout);
});

test('mandoc finds nothing in it, and groff shows it', async () => {
  const lint = await tryTool('mandoc', ['-T', 'lint', '-W', 'style', file]);
  expect(lint.output).toBe('');
  expect((await runTool('man', ['-l', file])).toString()).toContain('umlsnap');
});

test('each verb, each of its options and each exit code stands in it', async () => {
  const text = await rendered();
  const { stdout } = await runCli(['completion', 'bash']);
  const rows = [...stdout.matchAll(/^ {2}'([a-z ]*)'\)\n +verbs='[^']*'\n +options='([^']*)'/gm)];
  expect(rows.length).toBeGreaterThan(15);
  for (const [, verb = '', options = ''] of rows) {
    if (verb !== 'config') expect(text).toMatch(new RegExp(`^ +${verb}( |$)`, 'm'));
    for (const option of options.split(' ').filter((one) => one !== '')) expect(text).toContain(option);
  }
  const [, exitStatus = ''] = text.split(/^EXIT STATUS$/m);
  for (const code of Object.values(exitCodes))
    expect(exitStatus).toMatch(new RegExp(`^ +${code} +[A-Z]`, 'm'));
});
