import { brokenVocabulary, type GgufVocabulary } from './gguf-vocabulary.ts';
import type { TokenizerParts } from './tokenizer-parts.ts';

const BLANK = '▁';

/** SentencePiece's BPE. Its scores say which pieces come first, which as a list of merges is what Hugging Face's conversion makes:
 *  every way to cut a piece in two. @throws TokenizerError ERR_TOKENIZER_FILE. */
export function sentencePieceParts(vocabulary: GgufVocabulary, file: string): TokenizerParts {
  const { tokens, scores, unknownId, addSpacePrefix, addBos } = vocabulary;
  if (scores === null) throw brokenVocabulary(file, 'it has no tokenizer.ggml.scores');
  const vocab = new Map(tokens.map((token, id) => [token, id]));
  const replaceBlanks = { type: 'Replace', pattern: { String: ' ' }, content: BLANK };
  const hasPrefix = addSpacePrefix ?? true;
  const prefix = hasPrefix ? [{ type: 'Prepend', prepend: BLANK }] : [];
  const strip = hasPrefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : [];
  return {
    vocab,
    merges: mergesOf(vocabulary, vocab, scores),
    model: { ignore_merges: false, byte_fallback: true, fuse_unk: true, unk_token: tokens[unknownId ?? 0] ?? null },
    normalizer: { type: 'Sequence', normalizers: [...prefix, replaceBlanks] },
    preTokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: BLANK }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...strip,
      ],
    },
    addBos: addBos ?? true,
  };
}

interface Merge {
  readonly pair: readonly [string, string];
  readonly score: number;
  readonly lengths: readonly [number, number];
}

function mergesOf(
  { tokens, kindOf }: GgufVocabulary,
  vocab: ReadonlyMap<string, number>,
  scores: readonly number[],
): (readonly [string, string])[] {
  const idOf = (piece: string): number => vocab.get(piece) ?? -1;
  const merges = tokens.flatMap((token, id): Merge[] => {
    // No text may spell out a token that only templates may have.
    if (kindOf(id) === 'control' || kindOf(id) === 'unknown' || kindOf(id) === 'byte') return [];
    return cutsOf(token)
      .filter(({ pair: [a, b] }) => vocab.has(a) && vocab.has(b))
      .map((cut) => ({ ...cut, score: scores[id] ?? 0 }))
      .sort(({ pair: [a, b] }, { pair: [c, d] }) => idOf(a) - idOf(c) || idOf(b) - idOf(d));
  });
  return merges
    .sort((x, y) => y.score - x.score || y.lengths[0] - x.lengths[0] || y.lengths[1] - x.lengths[1])
    .map(({ pair }) => pair);
}

/** Every way to cut `token` between two characters. */
function cutsOf(token: string): Omit<Merge, 'score'>[] {
  const chars = Array.from(token);
  let at = 0;
  return chars.slice(0, -1).map((char, i) => {
    at += char.length;
    return { pair: [token.slice(0, at), token.slice(at)], lengths: [i + 1, chars.length - i - 1] };
  });
}
