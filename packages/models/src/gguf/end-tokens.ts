import type { GgufMetadataValue } from './read-value.ts';

const ID_KEYS = ['eos', 'eot', 'eom'].map((name) => `tokenizer.ggml.${name}_token_id`);
const CONTROL = 3;

/** Control tokens that end a turn in whatever model has them, as llama.cpp takes them: files often name only one. */
const END_TEXTS = new Set([
  '<|eot_id|>',
  '<|eom_id|>',
  '<|im_end|>',
  '<|end|>',
  '<|endoftext|>',
  '<|end_of_text|>',
  '<end_of_turn>',
  '<|end▁of▁sentence|>',
  '<｜end▁of▁sentence｜>',
  '</s>',
]);

/** Ids at which generation ends, ascending, with the one that the file calls eos first. */
export function endTokenIds(metadata: ReadonlyMap<string, GgufMetadataValue>): number[] {
  const named = ID_KEYS.map((key) => metadata.get(key)).filter((id) => typeof id === 'number');
  const tokens = listOf(metadata.get('tokenizer.ggml.tokens'));
  const types = listOf(metadata.get('tokenizer.ggml.token_type'));
  const known = tokens.flatMap((token, id) =>
    types[id] === CONTROL && typeof token === 'string' && END_TEXTS.has(token) ? [id] : [],
  );
  return [...new Set([...named, ...known])];
}

function listOf(value: GgufMetadataValue | undefined): readonly GgufMetadataValue[] {
  return typeof value === 'object' ? value : [];
}
