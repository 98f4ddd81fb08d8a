import { expect, test } from 'vitest';
import type { FieldTable } from './field.ts';
import { defaultRequestBounds, requestFields } from './request-fields.ts';
import { requestFieldsDocument } from './request-fields-document.ts';
import { RequestParser } from './request-schema.ts';
import { unsupportedFields } from './unsupported-fields.ts';

const table = requestFields(defaultRequestBounds);
const requests = new RequestParser(defaultRequestBounds);

const chat = { messages: [{ role: 'user', content: 'x' }] };
const completion = { prompt: 'x' };

/** What may come out of JSON for a field of the wrong kind or size. Each field refuses all but a few of them. */
const hostile = [
  Infinity,
  -Infinity,
  2 ** 63,
  -(2 ** 63),
  1e308,
  -0.5,
  1.5,
  '',
  'x'.repeat(100_000),
  '\ud800',
  {},
  [[]],
];
const long = Array.from({ length: 100_000 }, () => 1);

function refusal(parse: () => unknown): { readonly message: string; readonly param: string } | null {
  try {
    parse();
    return null;
  } catch (error) {
    return error as { message: string; param: string };
  }
}

const cases = (table: FieldTable, parse: (body: object) => unknown): [string, string, (value: unknown) => unknown][] =>
  Object.entries(table).map(([name, { expected }]) => [name, expected, (value) => parse({ [name]: value })]);
const both = [
  ...cases({ ...table.common, ...table.chat }, (given) => requests.chat({ ...chat, ...given })),
  ...cases({ ...table.common, ...table.completion }, (given) => requests.completion({ ...completion, ...given })),
];

test.each(both)('%s refuses what is out of its bounds by name and bound', (name, expected, parse) => {
  expect(refusal(() => parse(null))).toBeNull();
  const refusals = [...hostile, long].map((value) => refusal(() => parse(value))).filter((error) => error !== null);
  expect(refusals.length).toBeGreaterThan(hostile.length / 2);
  for (const { message, param } of refusals) {
    expect(param).toBe(`body.${name}`);
    expect(message.length).toBeLessThan(500);
    if (message.includes('; got')) expect(message).toContain(expected);
  }
  expect(refusal(() => parse(long))).not.toBeNull();
});

test('a number is refused from just outside its bounds on, and named', () => {
  const error = refusal(() => requests.chat({ ...chat, presence_penalty: 2.0000001 }));
  expect(error).toMatchObject({
    status: 400,
    param: 'body.presence_penalty',
    message: 'body.presence_penalty: must be a number from -2 to 2; got 2.0000001.',
  });
  for (const bounds of [-2, 2]) expect(refusal(() => requests.chat({ ...chat, presence_penalty: bounds }))).toBeNull();
});

test.each([
  ['logit_bias', { x: 1 }],
  ['logit_bias', { '-1': 1 }],
  ['logit_bias', { 5: 101 }],
  ['logit_bias', Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [i, 1]))],
  ['allowed_token_ids', []],
  ['truncate_prompt_tokens', 0],
  ['truncation_side', 'middle'],
  ['request_id', 'a b'],
  ['chat_template_kwargs', { deep: [{ x: Infinity }] }],
  ['chat_template_kwargs', { chat_template: 'x' }],
  ['chat_template_kwargs', { x: 'y'.repeat(17_000) }],
  ['documents', [{ title: 5 }]],
  ['min_tokens', 11],
  ['logprob_token_ids', [5]],
  ['repetition_detection', { max_pattern_size: 65, min_count: 2 }],
  ['repetition_detection', { max_pattern_size: 3 }],
  ['repetition_detection', { max_pattern_size: 1, min_pattern_size: 2, min_count: 2 }],
])('%s refuses %j', (name, value) => {
  const error = refusal(() => requests.chat({ ...chat, max_tokens: 10, [name]: value }));
  expect(error).toMatchObject({ status: 400, param: `body.${name}` });
});

test.each(Object.keys(unsupportedFields))('%s is refused by name where it asks for something', (name) => {
  expect(refusal(() => requests.chat({ ...chat, [name]: null }))).toBeNull();
  expect(refusal(() => requests.chat({ ...chat, [name]: { type: 'json' } }))).toMatchObject({
    param: `body.${name}`,
  });
});

test("the most logprobs are the server's own limit, which a refusal names", () => {
  for (const maxLogprobs of [0, 5]) {
    const limited = new RequestParser({ maxLogprobs });
    const asked = [
      ['top_logprobs', (n: number) => limited.chat({ ...chat, logprobs: true, top_logprobs: n })],
      ['prompt_logprobs', (n: number) => limited.chat({ ...chat, prompt_logprobs: n })],
      ['prompt_logprobs', (n: number) => limited.completion({ ...completion, prompt_logprobs: n })],
      ['logprobs', (n: number) => limited.completion({ ...completion, logprobs: n })],
    ] as const;
    for (const [name, parse] of asked) {
      expect(refusal(() => parse(maxLogprobs))).toBeNull();
      expect(refusal(() => parse(maxLogprobs + 1))).toMatchObject({
        status: 400,
        param: `body.${name}`,
        message: `body.${name}: must be a whole number from 0 to ${maxLogprobs}; got ${maxLogprobs + 1}.`,
      });
    }
    const named = (ids: number): unknown =>
      limited.completion({ ...completion, logprobs: 0, logprob_token_ids: Array.from({ length: ids }, () => 1) });
    expect(refusal(() => named(maxLogprobs))).toBeNull();
    expect(refusal(() => named(maxLogprobs + 1))).toMatchObject({ param: 'body.logprob_token_ids' });
  }
});

test('prompts of every shape, and none that is empty or mixed', () => {
  for (const prompt of ['x', ['x', ''.concat('y')], [1, 2], [[1], [2]]])
    expect(refusal(() => requests.completion({ prompt }))).toBeNull();
  for (const prompt of [
    '',
    [],
    [''],
    [[]],
    ['x', 1],
    [1, 'x'],
    [[1], 'x'],
    [-1],
    [0.5],
    [2 ** 31],
    5,
    {},
    long.map(String),
  ])
    expect(
      refusal(() => requests.completion({ prompt })),
      JSON.stringify(prompt).slice(0, 40),
    ).toMatchObject({
      param: 'body.prompt',
    });
});

test('docs/request-fields.md is what the table says (vitest -u writes it)', async () => {
  await expect(requestFieldsDocument()).toMatchFileSnapshot('../../../docs/request-fields.md');
});
