import { byteLevelAlphabet } from 'tokenizers';

/** Text that is hard to cut: four-byte emoji, joined emoji, combining marks, scripts without blanks. */
export const HARD_TEXT = 'Hello, wörld! สวัสดีครับ 你好 👩‍👩‍👧‍👦 🏳️‍🌈 naïve e\u0301 \n\t  two  blanks 👍🏽 <tag> ½ done.';

const SPECIALS = ['<s>', '</s>', '<|im_start|>', '<|im_end|>', '<|im|>'];

/** tokenizer.json of a byte-level BPE whose merges were learnt from HARD_TEXT, so that tokens cut characters anywhere. */
export function byteLevelTokenizer(): string {
  const bytes = byteLevelAlphabet().sort();
  const byteChars = charOfByte();
  const words = HARD_TEXT.match(/\s?\S+|\s/gu) ?? [];
  const merges = learnMerges(
    words.map((w) => Array.from(new TextEncoder().encode(w), (b) => byteChars[b] ?? '')),
    60,
  );
  const tokens = [...bytes, ...merges.map(([a, b]) => a + b)];
  return tokenizerJson({
    tokens,
    merges,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
  });
}

/** tokenizer.json in the manner of Llama 2: blanks as ▁, one prepended, bytes for characters without a token. */
export function byteFallbackTokenizer(): string {
  const chars = [...new Set('▁HelowrdsTabcthn,!.'), 'ส', '你'];
  const words = HARD_TEXT.replaceAll(' ', '▁').match(/▁?[A-Za-z]+/gu) ?? [];
  const merges = learnMerges(
    words.map((w) => Array.from(w).filter((c) => chars.includes(c))),
    20,
  );
  const byteTokens = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);
  return tokenizerJson({
    tokens: ['<unk>', ...SPECIALS, ...byteTokens, ...chars, ...merges.map(([a, b]) => a + b)],
    merges,
    byteFallback: true,
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
  });
}

interface Parts {
  readonly tokens: readonly string[];
  readonly merges: readonly (readonly [string, string])[];
  readonly byteFallback?: boolean;
  readonly normalizer?: unknown;
  readonly pre_tokenizer?: unknown;
  readonly decoder: unknown;
}

function tokenizerJson(parts: Parts): string {
  const vocab = new Map<string, number>();
  for (const token of [...parts.tokens, ...SPECIALS]) if (!vocab.has(token)) vocab.set(token, vocab.size);
  const entry = (content: string, special: boolean, id: number) => ({
    id,
    content,
    special,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  });
  const added_tokens = [
    ...SPECIALS.map((s) => entry(s, true, vocab.get(s) ?? 0)),
    entry('<tool>', false, vocab.size),
  ].sort((a, b) => a.id - b.id);
  const model = {
    type: 'BPE',
    dropout: null,
    unk_token: parts.byteFallback ? '<unk>' : null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: true,
    byte_fallback: parts.byteFallback ?? false,
    ignore_merges: false,
    vocab: Object.fromEntries(vocab),
    merges: parts.merges,
  };
  const bos = { id: '<s>', type_id: 0 };
  const post_processor = {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: bos }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
    special_tokens: { '<s>': { id: '<s>', ids: [vocab.get('<s>')], tokens: ['<s>'] } },
  };
  return JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens,
    normalizer: parts.normalizer ?? null,
    pre_tokenizer: parts.pre_tokenizer ?? null,
    post_processor,
    decoder: parts.decoder,
    model,
  });
}

/** Greedy pair merging over `words`, most frequent first. */
function learnMerges(words: string[][], count: number): [string, string][] {
  const merges: [string, string][] = [];
  while (merges.length < count) {
    const pairs = new Map<string, number>();
    for (const word of words)
      for (let i = 1; i < word.length; i++)
        pairs.set(`${word[i - 1]} ${word[i]}`, (pairs.get(`${word[i - 1]} ${word[i]}`) ?? 0) + 1);
    const best = [...pairs].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0];
    if (!best) break;
    const [a = '', b = ''] = best[0].split(' ');
    merges.push([a, b]);
    for (const word of words)
      for (let i = word.length - 1; i > 0; i--) if (word[i - 1] === a && word[i] === b) word.splice(i - 1, 2, a + b);
  }
  return merges;
}

function charOfByte(): string[] {
  const chars: string[] = [];
  let next = 0x100;
  for (let b = 0; b < 256; b++) {
    const printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    chars.push(String.fromCharCode(printable ? b : next++));
  }
  return chars;
}

/** Seeded numbers in [0, 1) for tests. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
