import { describe, expect, it } from 'vitest';
import { byteFallbackTokenizer, byteLevelTokenizer, HARD_TEXT, seeded } from './testing/small-tokenizers.ts';
import { Tokenizer } from './tokenizer.ts';

function stream(tokenizer: Tokenizer, ids: readonly number[], skipSpecialTokens = false): string[] {
  const detokenizer = tokenizer.newDetokenizer({ skipSpecialTokens });
  return [...ids.map((id) => detokenizer.add(id)), detokenizer.end()];
}

for (const [name, json] of [
  ['byte-level', byteLevelTokenizer()],
  ['byte-fallback', byteFallbackTokenizer()],
] as const) {
  describe(`IncrementalDetokenizer over a ${name} vocabulary`, () => {
    const tokenizer = Tokenizer.fromJson(json);

    it('brings a text back whole, and no broken character on the way', async () => {
      const ids = await tokenizer.encode(HARD_TEXT, { addSpecialTokens: false });
      const deltas = stream(tokenizer, ids);
      expect(deltas.join('')).toBe(HARD_TEXT);
      expect(deltas.join('')).toBe(await tokenizer.decode(ids, { skipSpecialTokens: false }));
      for (const delta of deltas) expect(delta.isWellFormed() && !delta.includes('\ufffd')).toBe(true);
      expect(deltas.filter((d) => d !== '').length).toBeGreaterThan(30);
    });

    it('equals the full decode for any tokens, cut and mixed at random', async () => {
      const random = seeded(3);
      const text = await tokenizer.encode(HARD_TEXT, { addSpecialTokens: false });
      for (let i = 0; i < 400; i++) {
        const ids: number[] = [];
        while (random() < 0.85) {
          const from = Math.floor(random() * text.length);
          if (random() < 0.5) ids.push(...text.slice(from, from + 1 + Math.floor(random() * 20)));
          else ids.push(Math.floor(random() * (tokenizer.vocabSize + 3)));
        }
        const skipSpecialTokens = random() < 0.5;
        expect(stream(tokenizer, ids, skipSpecialTokens).join(''), ids.join()).toBe(
          await tokenizer.decode(ids, { skipSpecialTokens }),
        );
      }
    });

    it('joins token bytes to the text, also where a token is no whole character', async () => {
      const ids = await tokenizer.encode(HARD_TEXT, { addSpecialTokens: false });
      const bytes = ids.flatMap((id) => [...tokenizer.tokenBytes(id)]);
      // The blank that Llama 2's normaliser prepends is part of its first token.
      expect(new TextDecoder().decode(Uint8Array.from(bytes)).replace(/^ /, '')).toBe(HARD_TEXT);
      expect(ids.map((id) => tokenizer.tokenText(id))).toContain('\ufffd');
    });
  });
}

it('keeps the leading blank when the text goes on from a prompt', async () => {
  const tokenizer = Tokenizer.fromJson(byteFallbackTokenizer());
  const ids = await tokenizer.encode('Hello', { addSpecialTokens: false });
  const text = (position: 'start' | 'middle'): string => {
    const detokenizer = tokenizer.newDetokenizer({ skipSpecialTokens: true, position });
    return ids.map((id) => detokenizer.add(id)).join('') + detokenizer.end();
  };
  expect([text('start'), text('middle')]).toEqual(['Hello', ' Hello']);
});
