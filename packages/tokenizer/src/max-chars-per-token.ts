import { z } from 'zod';
import type { TokenizerDefinition } from './tokenizer-files.ts';

const bpeSchema = z.object({
  type: z.literal('BPE'),
  vocab: z.record(z.string(), z.int()),
  byte_fallback: z.boolean().nullish(),
});

/** Normalizers that change or add characters one for one, and never take any away. */
const harmless = z.union([
  z.null(),
  z.undefined(),
  z.object({ type: z.enum(['Replace', 'Prepend', 'ByteLevel']), content: z.string().min(1).optional() }),
]);
const harmlessNormalizer = z.union([
  harmless,
  z.object({ type: z.literal('Sequence'), normalizers: z.array(harmless) }),
]);

/** How many characters of a text one token stands for at most. Holds for tokenizers in which every byte has a token and no
 *  character is dropped on the way, as the byte-level and byte-fallback ones of language models; else Infinity. A token is spelt
 *  in at least as many characters as it stands for. */
export function maxCharsPerToken(definition: TokenizerDefinition): number {
  const model = bpeSchema.safeParse(definition.model);
  if (!model.success || !harmlessNormalizer.safeParse(definition.normalizer).success) return Infinity;
  const isByteLevel = JSON.stringify([definition.pre_tokenizer, definition.normalizer]).includes('"ByteLevel"');
  if (!isByteLevel && model.data.byte_fallback !== true) return Infinity;
  const added = definition.added_tokens.map((token) => token.content);
  return [...Object.keys(model.data.vocab), ...added].reduce((most, token) => Math.max(most, token.length), 1);
}
