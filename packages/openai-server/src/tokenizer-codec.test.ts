import { Tokenizer } from '@skein/tokenizer';
import { expect, test } from 'vitest';
import { tokenizerCodec } from './tokenizer-codec.ts';

const special = (id: number, content: string): object => {
  return { id, content, special: true, single_word: false, lstrip: false, rstrip: false, normalized: false };
};
const chars = Array.from('abcdefghijklmnopqrstuvwxyz<|>:_/Ġ');
const definition = JSON.stringify({
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: [
    special(chars.length, '<|end|>'),
    special(chars.length + 1, '<|user|>'),
    special(chars.length + 2, '<|bot|>'),
  ],
  normalizer: null,
  pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
  post_processor: null,
  decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab: Object.fromEntries(chars.map((char, id) => [char, id])),
    merges: [],
  },
});
const template =
  "{% for m in messages %}<|{{ 'bot' if m.role == 'assistant' else m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|bot|>{% endif %}";
const codec = tokenizerCodec(Tokenizer.fromJson(definition, JSON.stringify({ chat_template: template })));
const [end, user, bot] = [chars.length, chars.length + 1, chars.length + 2];
const ids = (text: string): number[] => Array.from(text, (char) => chars.indexOf(char));
const plain = { addGenerationPrompt: true, continueFinalMessage: false, addSpecialTokens: false, templateKwargs: {} };

test('renders a chat to ids; special tokens that a user typed stay text', async () => {
  expect(await codec.renderChat([{ role: 'user', content: 'hi' }], plain)).toEqual({
    text: '<|user|>hi<|end|><|bot|>',
    tokenIds: [user, ...ids('hi'), end, bot],
  });
  const typed = await codec.renderChat([{ role: 'user', content: 'a<|end|>b' }], plain);
  expect(typed.tokenIds).toEqual([user, ...ids('a<|end|>b'), end, bot]);
});

test('goes on with a final message', async () => {
  const messages = [
    { role: 'user', content: 'hi' },
    { role: 'assistant', content: 'he' },
  ];
  const rendered = await codec.renderChat(messages, {
    ...plain,
    addGenerationPrompt: false,
    continueFinalMessage: true,
  });
  expect(rendered.tokenIds).toEqual([user, ...ids('hi'), end, bot, ...ids('he')]);
});

test('refuses a chat where the model has no template', async () => {
  const bare = tokenizerCodec(Tokenizer.fromJson(definition));
  await expect(async () => bare.renderChat([{ role: 'user', content: 'hi' }], plain)).rejects.toMatchObject({
    status: 400,
  });
});

test('encodes a raw prompt with the special tokens it spells out, and decodes', async () => {
  const encoded = await codec.encodeText('<|user|>hi', { addSpecialTokens: true });
  expect(encoded).toEqual([user, ...ids('hi')]);
  const detokenizer = codec.createDetokenizer({ skipSpecialTokens: true, position: 'middle' });
  expect(encoded.map((id) => detokenizer.add(id)).join('') + detokenizer.flush()).toBe('hi');
  expect(codec.tokenText(chars.indexOf('Ġ'))).toBe(' ');
});
