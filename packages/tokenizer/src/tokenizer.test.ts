import { describe, expect, it } from 'vitest';
import { byteFallbackTokenizer, byteLevelTokenizer, HARD_TEXT } from './testing/small-tokenizers.ts';
import { Tokenizer } from './tokenizer.ts';

describe('Tokenizer', () => {
  const tokenizer = Tokenizer.fromJson(byteLevelTokenizer());

  it('encodes and decodes', async () => {
    const ids = await tokenizer.encode(HARD_TEXT);
    expect(ids[0]).toBe(tokenizer.idOf('<s>'));
    expect(await tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(HARD_TEXT);
  });

  it('refuses a text that is too long before looking at it', async () => {
    await expect(tokenizer.encode('x'.repeat(11), { maxTextLength: 10 })).rejects.toMatchObject({
      code: 'ERR_TEXT_TOO_LONG',
      details: { length: 11, maxTextLength: 10 },
    });
  });

  it('answers for ids that no token has', () => {
    expect([
      tokenizer.tokenOf(1e9),
      tokenizer.tokenOf(-1),
      tokenizer.tokenText(1e9),
      tokenizer.tokenBytes(1e9).length,
    ]).toEqual([null, null, '', 0]);
  });

  it('says which file is wrong', async () => {
    expect(() => Tokenizer.fromJson('{')).toThrow(expect.objectContaining({ code: 'ERR_TOKENIZER_FILE' }));
    expect(() => Tokenizer.fromJson('{}')).toThrow(/tokenizer\.json/);
    await expect(Tokenizer.load('/nonexistent')).rejects.toThrow(/tokenizer\.json is missing/);
  });
});

describe('maxCharsPerToken', () => {
  it('is the longest spelling where every byte has a token', async () => {
    for (const make of [byteLevelTokenizer, byteFallbackTokenizer]) {
      const tokenizer = Tokenizer.fromJson(make());
      const ids = await tokenizer.encode(HARD_TEXT.repeat(20), { addSpecialTokens: false });
      expect(tokenizer.maxCharsPerToken).toBeGreaterThanOrEqual('<|im_start|>'.length);
      expect(tokenizer.maxCharsPerToken).toBeLessThan(30);
      expect(ids.length * tokenizer.maxCharsPerToken).toBeGreaterThanOrEqual(HARD_TEXT.length * 20);
    }
  });

  it('is unknown where characters can vanish', () => {
    const definition = JSON.parse(byteLevelTokenizer()) as object;
    for (const change of [
      { normalizer: { type: 'Strip', strip_left: true, strip_right: true } },
      { pre_tokenizer: { type: 'WhitespaceSplit' } },
    ])
      expect(Tokenizer.fromJson(JSON.stringify({ ...definition, ...change })).maxCharsPerToken).toBe(Infinity);
  });
});

describe('encodeChat', () => {
  it("puts the tokenizer's own special tokens around a chat when told to", async () => {
    const tokenizer = Tokenizer.fromJson(
      byteLevelTokenizer(),
      JSON.stringify({ chat_template: '{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}' }),
    );
    const chat = tokenizer.chatTemplate?.render([{ role: 'user', content: 'Hello' }]);
    if (!chat) throw new Error('no chat template');
    const bare = await tokenizer.encodeChat(chat);
    const whole = await tokenizer.encodeChat(chat, { addSpecialTokens: true });
    const own = await tokenizer.encode('', { addSpecialTokens: true });
    expect(own.length).toBeGreaterThan(0);
    expect(whole).toHaveLength(bare.length + own.length);
    expect(whole[0]).toBe(tokenizer.idOf('<s>'));
    expect(bare[0]).toBe(tokenizer.idOf('<|im_start|>'));
  });
});
