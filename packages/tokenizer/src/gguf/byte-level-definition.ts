import { brokenVocabulary, type GgufVocabulary } from './gguf-vocabulary.ts';
import { PRE_TOKENIZERS } from './pre-tokenizers.ts';
import type { TokenizerParts } from './tokenizer-parts.ts';

/** Byte-level BPE with the file's merges. @throws TokenizerError ERR_TOKENIZER_FILE. */
export function byteLevelParts(vocabulary: GgufVocabulary, file: string): TokenizerParts {
  const { tokens, merges, kindOf, pre } = vocabulary;
  const preTokenizer = PRE_TOKENIZERS.get(pre ?? 'default');
  if (preTokenizer === undefined)
    throw brokenVocabulary(
      file,
      `tokenizer.ggml.pre is ${JSON.stringify(pre)}, and served are ${[...PRE_TOKENIZERS.keys()].join(', ')}`,
    );
  if (merges === null) throw brokenVocabulary(file, 'it has no tokenizer.ggml.merges');
  // Unused ids have made-up names, which no text should find.
  const vocab = new Map(tokens.flatMap((token, id) => (kindOf(id) === 'unused' ? [] : [[token, id] as const])));
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true };
  const cuts = preTokenizer.patterns.map((pattern) => ({
    type: 'Split',
    pattern: { Regex: pattern },
    behavior: 'Isolated',
    invert: false,
  }));
  return {
    vocab,
    merges: merges.map(pairOf).filter(([a, b]) => vocab.has(a) && vocab.has(b) && vocab.has(a + b)),
    model: { ignore_merges: preTokenizer.ignoreMerges, byte_fallback: false, fuse_unk: false, unk_token: null },
    normalizer: preTokenizer.composed ? { type: 'NFC' } : null,
    preTokenizer: { type: 'Sequence', pretokenizers: [...cuts, { ...byteLevel, use_regex: false }] },
    decoder: { ...byteLevel, add_prefix_space: true, use_regex: true },
    addBos: vocabulary.addBos ?? preTokenizer.addBos,
  };
}

/** A merge is written as its two sides with a blank between; a side may begin with one. */
function pairOf(merge: string): readonly [string, string] {
  const at = merge.indexOf(' ', 1);
  return at < 0 ? [merge, ''] : [merge.slice(0, at), merge.slice(at + 1)];
}
