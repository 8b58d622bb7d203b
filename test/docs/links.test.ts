import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { runCli } from '../support/cli.js';

const root = resolve(import.meta.dirname, '../..');
const documents = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'));
const pages = ['README.md', ...documents.map((name) => `docs/${name}`)];
const textOf = (page: string) => readFile(join(root, page), 'utf8');

/** Rows of the completion's table are the verbs that there are; the hidden ones are not for pages. */
const verbs = new Set<string>();
beforeAll(async () => {
  const { stdout } = await runCli(['completion', 'bash']);
  for (const verb of allOf(/^ {2}'([a-z ]+)'\)$/gm, stdout)) verbs.add(verb);
});

/** `config` has to be followed by one of its own; of others, whatever follows is an argument. */
function isVerb(words: string): boolean {
  const [first = ''] = words.split(' ');
  const isGroup = [...verbs].some((verb) => verb.startsWith(`${first} `));
  return verbs.has(words) || (verbs.has(first) && !isGroup);
}

/** Lines that begin with our name, and that guests and hosts say to each other. */
const onTheWire = ['reply'];

/** What the first group of a pattern matches, each time. */
const allOf = (pattern: RegExp, text: string) => [...text.matchAll(pattern)].map(([, found = '']) => found);

/** In code, be it a block or a few words: what a reader would type. */
function codeOf(text: string): string[] {
  const blocks = allOf(/^ *```[a-z]*\n(.*?)^ *```$/gms, text);
  return [...blocks, ...allOf(/`([^`\n]+)`/g, text.replace(/^ *```.*?^ *```$/gms, ''))];
}

/** GitHub's names of headings. */
function anchorsOf(text: string): string[] {
  const nameOf = (heading: string) => heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '');
  return allOf(/^#+ (.+)$/gm, text).map((heading) => nameOf(heading).replaceAll(' ', '-'));
}

describe.each(pages)('%s', (page) => {
  test('leads nowhere that is not there', async () => {
    const text = await textOf(page);
    const broken: string[] = [];
    for (const link of allOf(/\]\(([^)\s]+)\)/g, text).filter((one) => !/^[a-z]+:/.test(one))) {
      const [path = '', anchor] = link.split('#');
      const target = path === '' ? join(root, page) : resolve(root, dirname(page), path);
      if (!existsSync(target) || relative(root, target).startsWith('..')) broken.push(link);
      else if (anchor !== undefined && !anchorsOf(await readFile(target, 'utf8')).includes(anchor))
        broken.push(link);
    }
    expect(broken).toEqual([]);
  });

  test('names no file of this project that is not there, and no verb that there is not', async () => {
    const code = codeOf(await textOf(page));
    const file = /(?:^|[\s(])((?:docs|src|test|jobs)\/[A-Za-z0-9._/-]*[A-Za-z0-9])/g;
    // Written by a command of the page itself.
    const made = ['docs/figures', 'test/…'];
    const named = code.flatMap((one) => allOf(file, one)).filter((path) => !made.includes(path));
    expect(named.filter((path) => !existsSync(join(root, path)))).toEqual([]);

    const options = '(?:(?:-c|--config) \\S+ |--json |-q |-v |--quiet |--verbose )*';
    const verb = new RegExp(`(?:^|[\\s/=])umlsnap ${options}([a-z]+(?: [a-z]+)?)`, 'gm');
    const used = code.flatMap((one) => allOf(verb, one));
    const passedOver = onTheWire;
    const unknown = used.filter((words) => !isVerb(words) && !passedOver.includes(words.split(' ')[0] ?? ''));
    expect(unknown).toEqual([]);
  });
});

test('the pages are found, so that the tests above can fail', () => {
  expect(pages).toEqual(expect.arrayContaining(['README.md', 'docs/design.md', 'docs/setup.md']));
  expect(codeOf('a `b` c\n```sh\numlsnap list\n```\n')).toEqual(['umlsnap list\n', 'b']);
  const known = ['config init', 'config nothing', 'restore debian'].map(isVerb);
  expect(known).toEqual([true, false, true]);
});
