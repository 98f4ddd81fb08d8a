import { z } from 'zod';
import type { TokenizerDefinition } from './tokenizer-files.ts';

const bpeSchema = z.object({
  type: z.literal('BPE'),
  // Its entries are the binding's to judge: looking at each of a large vocabulary here would take longer than all the rest.
  vocab: z.custom<Readonly<Record<string, unknown>>>((value) => typeof value === 'object' && value !== null),
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
  let most = 1;
  for (const token in model.data.vocab) most = Math.max(most, token.length);
  return definition.added_tokens.reduce((longest, { content }) => Math.max(longest, content.length), most);
}
