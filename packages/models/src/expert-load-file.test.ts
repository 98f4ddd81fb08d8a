import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readExpertLoads } from './expert-load-file.ts';

const MIXTURES = [
  { layer: 1, numExperts: 3 },
  { layer: 3, numExperts: 2 },
];

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'skein-expert-load-'));
});
afterAll(() => rm(dir, { recursive: true }));

async function read(text: string): Promise<unknown> {
  const file = join(dir, 'load.json');
  await writeFile(file, text);
  return readExpertLoads(file, MIXTURES);
}

function group(...layers: [number, number[]][]): object {
  return { name: 'g', model: 'm', layers: layers.map(([layer, tokens]) => ({ layer, tokens, ranks: [] })), ranks: [] };
}

test('the tokens of all groups add up', async () => {
  const groups = [group([3, [5, 0]], [1, [1, 2, 3]]), group([1, [10, 0, 0]], [3, [0, 7]])];
  expect(await read(JSON.stringify({ groups }))).toEqual(
    new Map([
      [3, [5, 7]],
      [1, [11, 2, 3]],
    ]),
  );
});

test.each([
  ['{', /it cannot be read as JSON \(/],
  ['[]', /the document is \[\] \(/],
  ['{}', /groups is missing \(/],
  ['{"groups": []}', /groups is \[\] \(/],
  [JSON.stringify({ groups: [group([1, [1, -2, 3]])] }), /groups\.0\.layers\.0\.tokens\.1 is -2 \(/],
  [JSON.stringify({ groups: [group([1, []])] }), /groups\.0\.layers\.0\.tokens is \[\] \(/],
  [JSON.stringify({ groups: [group([2, [1, 2]])] }), /experts of layer 2, and the model has them in layers 1, 3/],
  [JSON.stringify({ groups: [group([3, [1, 2, 3]])] }), /it counts 3 experts of layer 3, and the model has 2/],
  [JSON.stringify({ groups: [group([3, [1, 2]])] }), /it does not count experts of layer 1/],
])('%s is refused with the file, what is in it and the remedy', async (text, says) => {
  const error = await read(text).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: 'ERR_EXPERT_LOAD' });
  const { message } = error as Error;
  expect(message).toMatch(says);
  expect(message).toContain(`--expert-load is ${join(dir, 'load.json')}: `);
  expect(message).toMatch(/; give a file of what GET \/v1\/skein\/experts of this model answered$/);
});

test('a file that is not there is named', async () => {
  await expect(readExpertLoads(join(dir, 'none.json'), MIXTURES)).rejects.toMatchObject({
    code: 'ERR_EXPERT_LOAD',
    message: expect.stringContaining(`${join(dir, 'none.json')}: it cannot be read as JSON (ENOENT`),
  });
});
