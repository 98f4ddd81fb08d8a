/** How a text is cut before tokens are looked for, by `tokenizer.ggml.pre`. */
export interface PreTokenizer {
  /** Each cuts what the ones before left, at its matches and between them. */
  readonly patterns: readonly string[];
  /** A piece that is a token is taken whole, whatever the merges make of it. */
  readonly ignoreMerges: boolean;
  /** Whether a text begins with BOS where the file does not say. */
  readonly addBos: boolean;
  /** Whether text is brought to Unicode's composed form first: llama.cpp does not, but the models were trained so. */
  readonly composed: boolean;
}

const GPT2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

/** Contractions, words with what leads them, numbers of so many digits, signs, line ends, blanks. */
const words = (digits: string): string =>
  String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

/** Words are cut where capitals begin. */
const capitalWords = (contraction: string, digits: string): string => {
  const [lead, upper, lower] = [
    String.raw`[^\r\n\p{L}\p{N}]?`,
    String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`,
    String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`,
  ];
  return String.raw`${lead}${upper}*${lower}+${contraction}|${lead}${upper}+${lower}*${contraction}|${digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
};

const ONE_DIGIT = String.raw`\p{N}`;
const THREE_DIGITS = String.raw`\p{N}{1,3}`;

const plain = { ignoreMerges: false, addBos: false, composed: false };
const digitsThenGpt2: PreTokenizer = { ...plain, patterns: [ONE_DIGIT, GPT2] };
const gpt2: PreTokenizer = { ...plain, patterns: [GPT2] };
const llama3: PreTokenizer = { ...plain, patterns: [words(THREE_DIGITS)], ignoreMerges: true, addBos: true };
const qwen2: PreTokenizer = { ...plain, patterns: [words(ONE_DIGIT)] };
const gpt4o: PreTokenizer = {
  ...plain,
  patterns: [capitalWords(`(?i:'s|'t|'re|'ve|'m|'ll|'d)?`, THREE_DIGITS)],
};

/** Letters that have a case, as DeepSeek's first tokenizers list them. */
const CASED =
  'A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼ' +
  'ℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃';
const SIGNS = '!-/:-~！-／：-～‘-‟　-。';
const IDEOGRAPHS = '[一-龥ࠀ-一가-퟿]+';

const deepseekLlm: PreTokenizer = {
  ...plain,
  patterns: ['[\r\n]', String.raw`\s?[${CASED}]+`, String.raw`\s?[${SIGNS}]+`, String.raw`\s+$`, IDEOGRAPHS, ONE_DIGIT],
};
const deepseekCoder: PreTokenizer = {
  ...plain,
  patterns: ['[\r\n]', String.raw`\s?\p{L}+`, String.raw`\s?\p{P}+`, IDEOGRAPHS, ONE_DIGIT],
};
const ASCII_SIGN = '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]';
const deepseekV3: PreTokenizer = {
  ...plain,
  patterns: [
    THREE_DIGITS,
    '[一-龥぀-ゟ゠-ヿ]+',
    String.raw`${ASCII_SIGN}[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  ],
};
/** What llama.cpp does where a file names none. */
const fallback: PreTokenizer = {
  ...plain,
  patterns: [String.raw`[\p{P}\$\+<=>\^~\|]+`, GPT2, String.raw`\p{N}+`, '[0-9][0-9][0-9]'],
};

export const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map([
  ['command-r', digitsThenGpt2],
  ['dbrx', { ...llama3, ignoreMerges: false, addBos: false }],
  ['deepseek-coder', deepseekCoder],
  ['deepseek-llm', deepseekLlm],
  ['deepseek-r1-qwen', qwen2],
  ['deepseek-v3', deepseekV3],
  ['default', fallback],
  ['falcon3', llama3],
  ['gpt-2', gpt2],
  ['gpt-4o', gpt4o],
  ['llama-bpe', llama3],
  ['llama-v3', llama3],
  ['llama3', llama3],
  ['llama4', gpt4o],
  ['olmo', gpt2],
  ['phi-2', gpt2],
  ['qwen2', { ...qwen2, composed: true }],
  ['refact', digitsThenGpt2],
  ['smaug-bpe', { ...llama3, ignoreMerges: false, addBos: false }],
  ['smollm', digitsThenGpt2],
  ['stablelm2', qwen2],
  ['starcoder', digitsThenGpt2],
  ['tekken', { ...plain, patterns: [capitalWords('', ONE_DIGIT)], ignoreMerges: true, addBos: true }],
]);
