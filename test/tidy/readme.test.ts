import { expect, it } from 'vitest';
import { files, textOf } from './repository.ts';

/** Command -> the test file that runs it. */
const listFile = 'test/e2e/readme-commands.json';

it('runs every command of README.md in a test', () => {
  expect(textOf('README.md'), 'README.md is missing').not.toBe('');
  const tested = new Map(Object.entries(JSON.parse(textOf(listFile) || '{}') as Record<string, string>));
  const commands = [...textOf('README.md').matchAll(/^```sh\n([\s\S]*?)^```/gm)].flatMap((block) =>
    commandsOf(block[1] ?? ''),
  );
  expect(
    commands.filter((command) => !tested.has(command)),
    `not in ${listFile}`,
  ).toEqual([]);
  expect(
    [...tested.keys()].filter((command) => !commands.includes(command)),
    'not in README.md',
  ).toEqual([]);
  const missing = [...tested.values()].filter((test) => !files.some((file) => file.path === test));
  expect(missing, `test files that ${listFile} names`).toEqual([]);
});

/** One command a line; a line that ends in a backslash goes on in the next; what follows ' #' is a remark. */
function commandsOf(block: string): string[] {
  const lines = block.replaceAll(/\\\n\s*/g, '').split('\n');
  return lines.map((line) => line.replace(/(^|\s+)# .*$/, '').trim()).filter((line) => line !== '');
}
