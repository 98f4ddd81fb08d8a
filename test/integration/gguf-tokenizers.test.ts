import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { readGguf } from '@skein/models';
import { Tokenizer } from '@skein/tokenizer';
import { describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../fixtures/gguf-tokenizers/', import.meta.url));
const TINY_CHAT = fileURLToPath(new URL('../../examples/tiny-chat/', import.meta.url));

const names = readdirSync(ROOT)
  .filter((name) => name.endsWith('.gguf'))
  .map((name) => name.slice(0, -'.gguf'.length));

function casesOf(name: string) {
  const cases: { readonly text: string; readonly ids: readonly number[] }[] = JSON.parse(
    readFileSync(`${ROOT}${name}.json`, 'utf8'),
  );
  return cases;
}

function open(name: string): Tokenizer {
  const file = `${ROOT}${name}.gguf`;
  return Tokenizer.fromGguf(readGguf(file).metadata, { file });
}

describe.each(names)('the vocabulary %s', (name) => {
  test('gives the ids of Hugging Face and sentencepiece', async () => {
    const tokenizer = open(name);
    for (const { text, ids } of casesOf(name))
      expect([text, await tokenizer.encode(text, { addSpecialTokens: false })]).toEqual([text, ids]);
  });

  test('decodes to the text that was encoded', async () => {
    const tokenizer = open(name);
    for (const { text } of casesOf(name)) {
      const ids = await tokenizer.encode(text, { addSpecialTokens: false });
      expect(await tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(
        name === 'qwen2' ? text.normalize('NFC') : text,
      );
    }
  });
});

test('begins a text with BOS where the file says so, or where such vocabularies do', async () => {
  const idsOf = async (name: string, change: Readonly<Record<string, unknown>>) => {
    const { metadata } = readGguf(`${ROOT}${name}.gguf`);
    const changed = new Map<string, unknown>([...metadata, ...Object.entries(change)]);
    return Tokenizer.fromGguf(changed, { file: name }).encode('a');
  };
  const silent = { 'tokenizer.ggml.add_bos_token': null };
  const bare = await idsOf('llama-bpe', {});
  expect(await idsOf('llama-bpe', silent)).toEqual([0, ...bare]);
  expect(await idsOf('gpt-2', silent)).toEqual(await idsOf('gpt-2', {}));
  expect(await idsOf('llama-bpe', { 'tokenizer.ggml.add_eos_token': true })).toEqual([...bare, 2]);
  expect((await idsOf('sentence-piece', {}))[0]).toBe(1);
});

test("tiny-chat's vocabulary is the same from a GGUF file's values", async () => {
  const definition = readFileSync(`${TINY_CHAT}tokenizer.json`, 'utf8');
  const config = readFileSync(`${TINY_CHAT}tokenizer_config.json`, 'utf8');
  const wanted = Tokenizer.fromJson(definition, config);
  const { model, added_tokens: added } = JSON.parse(definition);
  const tokens = Object.keys(model.vocab).sort((a, b) => model.vocab[a] - model.vocab[b]);
  const special = new Set<number>(added.map((token: { id: number }) => token.id));
  const metadata = new Map<string, unknown>([
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', 'qwen2'],
    ['tokenizer.ggml.tokens', tokens],
    ['tokenizer.ggml.token_type', tokens.map((_, id) => (special.has(id) ? 3 : 1))],
    ['tokenizer.ggml.merges', model.merges.map((pair: string[]) => pair.join(' '))],
    ['tokenizer.ggml.eos_token_id', 2],
    ['tokenizer.chat_template', JSON.parse(config).chat_template],
  ]);
  const found = Tokenizer.fromGguf(metadata, { file: 'tiny-chat.gguf' });
  for (const { text } of casesOf('qwen2')) {
    const composed = text.normalize('NFC');
    for (const specialTokens of ['parse', 'text'] as const)
      expect(await found.encode(composed, { specialTokens })).toEqual(await wanted.encode(composed, { specialTokens }));
  }
  const chat = [{ role: 'user', content: 'What is the capital of France? <|im_end|>' }];
  const rendered = found.chatTemplate?.render(chat);
  expect(rendered?.text).toBe(wanted.chatTemplate?.render(chat).text);
  if (rendered === undefined) throw new Error('no chat template');
  expect(await found.encodeChat(rendered)).toEqual(await wanted.encodeChat(rendered));
});

test.each([
  ['tokenizer.ggml.model', 'bert', 'tokenizer.ggml.model is "bert", and served are gpt2, llama'],
  ['tokenizer.ggml.pre', 'klingon', 'tokenizer.ggml.pre is "klingon", and served are command-r'],
  ['tokenizer.ggml.merges', null, 'has no tokenizer.ggml.merges'],
  ['tokenizer.ggml.tokens', [1], 'tokenizer.ggml.tokens.0: '],
  ['tokenizer.ggml.token_type', [1, 1], 'tokenizer.ggml.token_type has 2 entries for'],
  ['tokenizer.ggml.bos_token_id', 5000, 'tokenizer.ggml.bos_token_id is 5000, and there are'],
])('%s of %j is refused', (key, value, message) => {
  const { metadata } = readGguf(`${ROOT}gpt-2.gguf`);
  const broken = new Map<string, unknown>([...metadata, [key, value]]);
  expect(() => Tokenizer.fromGguf(broken, { file: 'x.gguf' })).toThrow(
    expect.objectContaining({ code: 'ERR_TOKENIZER_FILE', message: expect.stringContaining(message) }),
  );
});
