import { ModelConfigError } from '../errors.ts';

const SPECIAL_TOKENS = [
  '<|begin_of_text|>',
  '<|end_of_text|>',
  '<|start_header|>',
  '<|end_header|>',
  '<|end_of_turn|>',
] as const;
const NUM_BYTES = 256;
const LETTERS: readonly string[] = Array.from('abcdefghijklmnopqrstuvwxyz');
/** How byte-level BPE writes a space. */
const SPACE = 'Ġ';

export const CHAT_TEMPLATE: string =
  "{{ bos_token }}{% for message in messages %}{{ '<|start_header|>' + message['role'] + '<|end_header|>\\n\\n' + message['content'] + '<|end_of_turn|>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|start_header|>assistant<|end_header|>\\n\\n' }}{% endif %}";

export interface ByteTokenizer {
  /** Content of tokenizer.json and tokenizer_config.json. */
  readonly tokenizer: object;
  readonly tokenizerConfig: object;
  readonly bosTokenId: number;
  readonly eosTokenIds: readonly number[];
}

/** A byte-level BPE tokenizer with exactly `vocabSize` ids: the 256 bytes, then strings of 2, 3 and 4 lower-case letters with
 *  or without a leading space, reserved tokens if that is not enough, and five special tokens at the end. */
export function makeByteTokenizer(vocabSize: number): ByteTokenizer {
  const numMergedMax = vocabSize - NUM_BYTES - SPECIAL_TOKENS.length;
  if (numMergedMax < 0) {
    throw new ModelConfigError(
      `a vocabulary of ${vocabSize} is too small for a byte-level tokenizer; give at least ${NUM_BYTES + SPECIAL_TOKENS.length}`,
      { details: { vocabSize } },
    );
  }
  const merges = letterMerges(numMergedMax);
  const vocab = Object.fromEntries(
    [...byteSymbols(), ...merges.map(([a, b]) => a + b)].map((token, id) => [token, id]),
  );
  const numReserved = numMergedMax - merges.length;
  const added = [...Array.from({ length: numReserved }, (_, i) => `<|reserved_${i}|>`), ...SPECIAL_TOKENS];
  const firstAdded = NUM_BYTES + merges.length;
  const id = (token: (typeof SPECIAL_TOKENS)[number]): number =>
    firstAdded + numReserved + SPECIAL_TOKENS.indexOf(token);
  const [bos, eos] = SPECIAL_TOKENS;
  const bosItem = { SpecialToken: { id: bos, type_id: 0 } };
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    bosTokenId: id(bos),
    eosTokenIds: [id(eos), id('<|end_of_turn|>')],
    tokenizer: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: added.map((content, i) => ({
        id: firstAdded + i,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      })),
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: {
        type: 'TemplateProcessing',
        single: [bosItem, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [bosItem, { Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
        special_tokens: { [bos]: { id: bos, ids: [id(bos)], tokens: [bos] } },
      },
      decoder: byteLevel,
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab,
        merges,
      },
    },
    tokenizerConfig: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      bos_token: bos,
      eos_token: '<|end_of_turn|>',
      clean_up_tokenization_spaces: false,
      chat_template: CHAT_TEMPLATE,
    },
  };
}

/** The first `count` of: every (space or letter, letter), then each of those with a third letter, then with a fourth. */
function letterMerges(count: number): [string, string][] {
  const merges: [string, string][] = [];
  let prefixes = [SPACE, ...LETTERS];
  for (let length = 2; length <= 4; length++) {
    const longer: string[] = [];
    for (const prefix of prefixes) {
      for (const letter of LETTERS) {
        if (merges.length === count) return merges;
        merges.push([prefix, letter]);
        longer.push(prefix + letter);
      }
    }
    prefixes = longer;
  }
  return merges;
}

/** GPT-2's printable character for each byte 0 to 255. */
function byteSymbols(): string[] {
  let next = NUM_BYTES;
  return Array.from({ length: NUM_BYTES }, (_, byte) => {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCodePoint(printable ? byte : next++);
  });
}
