import type { AddedTokenEntry, TokenizerFiles } from '../tokenizer-files.ts';
import { byteLevelParts } from './byte-level-definition.ts';
import { brokenVocabulary, type GgufVocabulary, parseGgufVocabulary } from './gguf-vocabulary.ts';
import { sentencePieceParts } from './sentence-piece-definition.ts';
import type { TokenizerParts } from './tokenizer-parts.ts';

/** tokenizer.json and tokenizer_config.json of the model in a GGUF file, from its metadata. @param file names it in errors.
 *  @throws TokenizerError ERR_TOKENIZER_FILE. */
export function ggufTokenizerFiles(metadata: ReadonlyMap<string, unknown>, file: string): TokenizerFiles {
  const vocabulary = parseGgufVocabulary(metadata, file);
  const parts = partsOf(vocabulary, file);
  const { tokens, bosId, eosId, chatTemplate } = vocabulary;
  const definition = {
    ...{ version: '1.0', truncation: null, padding: null },
    added_tokens: addedTokens(vocabulary),
    normalizer: parts.normalizer,
    pre_tokenizer: parts.preTokenizer,
    post_processor: postProcessor(vocabulary, parts.addBos),
    decoder: parts.decoder,
    model: {
      ...{ type: 'BPE', dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null },
      ...parts.model,
      vocab: Object.fromEntries(parts.vocab),
      merges: parts.merges,
    },
  };
  return {
    definition,
    definitionJson: JSON.stringify(definition),
    config: {
      bos_token: bosId === null ? null : (tokens[bosId] ?? null),
      eos_token: eosId === null ? null : (tokens[eosId] ?? null),
      chat_template: chatTemplates(metadata, chatTemplate),
    },
  };
}

function partsOf(vocabulary: GgufVocabulary, file: string): TokenizerParts {
  switch (vocabulary.model) {
    case 'gpt2':
      return byteLevelParts(vocabulary, file);
    case 'llama':
      return sentencePieceParts(vocabulary, file);
    default:
      throw brokenVocabulary(
        file,
        `tokenizer.ggml.model is ${JSON.stringify(vocabulary.model)}, and served are gpt2, llama`,
      );
  }
}

function addedTokens({ tokens, kindOf, modelName }: GgufVocabulary): AddedTokenEntry[] {
  // These swallow the blanks behind a special token, which the file does not say and llama.cpp knows by the name.
  const swallows = /phi-?3/i.test(modelName);
  return tokens.flatMap((content, id) => {
    const kind = kindOf(id);
    const special = kind === 'control' || kind === 'unknown';
    if (content === '' || !(special || kind === 'user-defined')) return [];
    const rstrip = swallows && special && !['<unk>', '<s>', '<|endoftext|>'].includes(content);
    return [{ id, content, special, single_word: false, lstrip: false, rstrip, normalized: false }];
  });
}

function postProcessor({ tokens, bosId, eosId, addEos }: GgufVocabulary, addBos: boolean): unknown {
  const around = { before: addBos ? bosId : null, after: addEos === true ? eosId : null };
  const name = (id: number): string => tokens[id] ?? '';
  const token = (id: number | null) => (id === null ? [] : [{ SpecialToken: { id: name(id), type_id: 0 } }]);
  const text = (id: 'A' | 'B') => ({ Sequence: { id, type_id: 0 } });
  const [before, after] = [token(around.before), token(around.after)];
  if (before.length + after.length === 0) return null;
  const used = [around.before, around.after].filter((id) => id !== null);
  return {
    type: 'TemplateProcessing',
    single: [...before, text('A'), ...after],
    pair: [...before, text('A'), ...after, ...before, text('B'), ...after],
    special_tokens: Object.fromEntries(used.map((id) => [name(id), { id: name(id), ids: [id], tokens: [name(id)] }])),
  };
}

const NAMED = 'tokenizer.chat_template.';

/** The default one, and those under names of their own. */
function chatTemplates(
  metadata: ReadonlyMap<string, unknown>,
  template: string | null,
): string | { readonly name: string; readonly template: string }[] | null {
  const named = [...metadata].flatMap(([key, value]) =>
    key.startsWith(NAMED) && typeof value === 'string' ? [{ name: key.slice(NAMED.length), template: value }] : [],
  );
  if (named.length === 0) return template;
  return template === null ? named : [{ name: 'default', template }, ...named];
}
