import { describe, expect, it } from 'vitest';
import { byteLevelTokenizer, HARD_TEXT } from './testing/small-tokenizers.ts';
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
