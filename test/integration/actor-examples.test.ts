import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

async function run(example: string): Promise<string[]> {
  const file = fileURLToPath(new URL(`../../examples/actors/${example}`, import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [file], { timeout: 30_000 });
  return stdout.trim().split('\n');
}

test('an actor program: calls, a stream, a restart, a name and a kill', async () => {
  expect(await run('main.ts')).toEqual([
    'add 2: 2',
    'add 40: 42',
    'count 1',
    'count 2',
    'count 3',
    'the counter was killed by SIGKILL - starting another',
    'add 1, to the next one: 1',
    'the counter was killed - for good',
  ]);
});

test('a placement group: a bundle on each of two nodes, and an actor in each', async () => {
  const lines = await run('placement.ts');
  expect(lines.toSorted()).toEqual(['bundle 0 is on left; add 2: 2', 'bundle 1 is on right; add 2: 2']);
});
