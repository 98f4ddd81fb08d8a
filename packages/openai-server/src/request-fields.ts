import { z } from 'zod';
import {
  bool,
  type Field,
  type FieldTable,
  int,
  intList,
  listOf,
  number,
  oneOf,
  shaped,
  text,
  textList,
  textOf,
} from './field.ts';

// The one table of bounds: requests are checked against it before any work, and docs/request-fields.md is written from it.
// Bounds are those of vLLM where it has them, else generous ones; those of logprobs are the server's.

const idMax = 2 ** 31 - 1;
const modelDefault = 'generation_config.json';
const promptsMax = 1024;

const stop = textOf({ maxLength: 256 });
const logitBiasMax = 1024;

const commonFields = {
  model: text({ maxLength: 500, default: 'the served model', meaning: 'One of the names the model is served under.' }),
  stream: bool({ default: 'false', meaning: 'Answer with server-sent events.' }),
  stream_options: shaped(
    z.object({ include_usage: z.boolean().nullish(), continuous_usage_stats: z.boolean().nullish() }),
    {
      type: 'object',
      expected: 'an object with booleans `include_usage` and `continuous_usage_stats`',
      default: 'no usage; with `--enable-force-include-usage` the last event',
      meaning:
        '`include_usage` adds a last event with the usage, `continuous_usage_stats` puts it in each. Only with `stream`.',
    },
  ),
  stream_interval: int({
    min: 1,
    max: idMax,
    default: '`--stream-interval`, else 1',
    meaning: 'Tokens that a streamed event waits for. The first and the last event wait for none.',
  }),
  n: int({ min: 1, max: 128, default: '1', meaning: 'Choices. 1 when sampling greedily.' }),
  temperature: number({
    min: 0,
    max: 100,
    default: `${modelDefault}, else 1`,
    meaning: '0 takes the likeliest token.',
  }),
  top_p: number({
    above: 0,
    max: 1,
    default: `${modelDefault}, else 1`,
    meaning: 'Keeps the likeliest tokens that make up this probability.',
  }),
  top_k: int({
    min: -1,
    max: 262_144,
    default: `${modelDefault}, else 0`,
    meaning: 'Keeps this many of the likeliest tokens. 0 and -1: all.',
  }),
  min_p: number({
    min: 0,
    max: 1,
    default: `${modelDefault}, else 0`,
    meaning: 'Drops tokens less likely than this share of the likeliest.',
  }),
  seed: int({
    min: Number.MIN_SAFE_INTEGER,
    max: Number.MAX_SAFE_INTEGER,
    default: 'drawn',
    meaning: 'The same seed gives the same text, alone and in a crowd.',
  }),
  presence_penalty: number({
    min: -2,
    max: 2,
    default: '0',
    meaning: 'Subtracted from the logits of tokens that the output has.',
  }),
  frequency_penalty: number({
    min: -2,
    max: 2,
    default: '0',
    meaning: 'The same for each time that the output has them.',
  }),
  repetition_penalty: number({
    min: 0.01,
    max: 100,
    default: `${modelDefault}, else 1`,
    meaning: 'Divides positive and multiplies negative logits of tokens that prompt or output have.',
  }),
  logit_bias: shaped(
    z
      .custom<Record<string, unknown>>(
        (v) => typeof v === 'object' && v !== null && !Array.isArray(v) && Object.keys(v).length <= logitBiasMax,
      )
      .pipe(
        z.record(z.string().regex(/^(0|[1-9]\d{0,9})$/), z.number().min(-100).max(100)) as z.ZodType<
          Record<string, number>,
          Record<string, unknown>
        >,
      ),
    {
      type: 'object of token id to number',
      expected: `an object of at most ${logitBiasMax} token ids, each with a number from -100 to 100`,
      min: 'each -100',
      max: `${logitBiasMax} ids, each 100`,
      default: 'none',
      meaning: 'Added to the logits of these tokens.',
    },
  ),
  allowed_token_ids: intList({
    min: 0,
    max: idMax,
    minItems: 1,
    maxItems: 32_768,
    default: 'all',
    meaning: 'The only tokens that may be sampled.',
  }),
  bad_words: textList({
    maxLength: 256,
    maxItems: 256,
    default: 'none',
    meaning: 'Words whose tokens the output may not contain in a row.',
  }),
  min_tokens: int({
    min: 0,
    max: idMax,
    default: '0',
    meaning: 'Tokens before which nothing ends the output. At most the most tokens asked for.',
  }),
  repetition_detection: shaped(
    z
      .object({
        max_pattern_size: z.int().min(0).max(64).nullish(),
        min_pattern_size: z.int().min(0).max(64).nullish(),
        min_count: z.int().min(0).max(64).nullish(),
      })
      .refine(({ max_pattern_size: most, min_pattern_size: least, min_count: count }) => {
        return (least ?? 0) <= (most ?? 0) && ((most ?? 0) === 0 || (count ?? 0) >= 2);
      }),
    {
      type: 'object',
      expected:
        'an object with whole numbers `max_pattern_size` from 0 to 64, `min_pattern_size` of at most that, and `min_count` from 2 to 64',
      min: 'patterns of 1, count 2',
      max: 'patterns of 64, count 64',
      default: 'off',
      meaning:
        'Ends an output that ends in the same few tokens `min_count` times in a row, with the finish reason `repetition`.',
    },
  ),
  stop: shaped(z.union([stop, listOf(stop, { minItems: 0, maxItems: 16 })]), {
    type: 'text or list of texts',
    expected: 'text of 1 to 256 characters or a list of at most 16 such texts',
    min: 'each 1 characters',
    max: '16 items, each 256',
    default: 'none',
    meaning: 'Ends the output where it contains one of these.',
  }),
  stop_token_ids: intList({
    min: 0,
    max: idMax,
    maxItems: 64,
    default: 'none',
    meaning: 'Ends the output at one of these tokens, which are no text.',
  }),
  ignore_eos: bool({ default: 'false', meaning: "Goes on at the model's own end-of-text tokens." }),
  include_stop_str_in_output: bool({ default: 'false', meaning: 'Keeps what ended the output in the text.' }),
  skip_special_tokens: bool({ default: 'true', meaning: 'Leaves special tokens out of the text.' }),
  spaces_between_special_tokens: bool({
    default: 'true',
    meaning: 'Accepted; no decoder here puts blanks between special tokens.',
  }),
  truncate_prompt_tokens: int({
    min: -1,
    max: idMax,
    default: 'off',
    meaning: 'Keeps at most this many tokens of the prompt; -1: as many as fit the model beside the output asked for.',
  }),
  truncation_side: oneOf(['left', 'right'], {
    default: '"left"',
    meaning: 'The side on which `truncate_prompt_tokens` cuts.',
  }),
  echo: bool({
    default: 'false',
    meaning:
      'Completions: the text begins with the prompt. Chat: it begins with the last message, if that has the same role.',
  }),
  priority: int({
    min: -idMax,
    max: idMax,
    default: '0',
    meaning: 'Lower goes first. Other than 0 only where the server schedules by priority.',
  }),
  request_id: text({
    maxLength: 128,
    pattern: /^[\w.:-]+$/,
    default: 'the X-Request-Id header, else drawn',
    meaning: "The last part of the answer's `id`.",
  }),
  session_id: text({ maxLength: 256, default: 'none', meaning: 'Accepted; changes nothing.' }),
  user: text({ minLength: 0, maxLength: 1024, default: 'none', meaning: 'Accepted; changes nothing.' }),
  cache_salt: text({
    maxLength: 1024,
    default: 'none',
    meaning: 'Cached prefixes are shared with requests of the same salt only.',
  }),
  return_tokens_as_token_ids: bool({ default: 'false', meaning: 'Logprobs name tokens `token_id:<id>`.' }),
  return_token_ids: bool({ default: 'false', meaning: 'Adds `prompt_token_ids` and `token_ids` to the answer.' }),
} satisfies FieldTable;

const part = z.object({ type: z.literal('text', 'only text parts are supported'), text: z.string() });

const message = z.object({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
  content: z
    .union([z.string(), z.array(part).max(2048)], 'expected text or a list of at most 2048 text parts')
    .nullish(),
  name: z.string().max(256).nullish(),
  tool_calls: z.array(z.unknown()).max(0, 'tool calls are not supported').nullish(),
});

const messagesField = shaped(listOf(message, { minItems: 1, maxItems: 2048 }), {
  type: 'list of messages',
  expected: 'a list of 1 to 2048 messages',
  min: '1 items',
  max: '2048 items',
  default: 'required',
  meaning: 'Each with a `role` and a `content` of text or text parts. Special tokens spelt out in it are text.',
});

const chatFields = {
  max_completion_tokens: int({ min: 1, max: idMax, default: '`max_tokens`', meaning: 'Tokens of the output at most.' }),
  max_tokens: int({
    min: 1,
    max: idMax,
    default: `${modelDefault}, else what fits the model`,
    meaning: 'The older name of `max_completion_tokens`.',
  }),
  logprobs: bool({ default: 'false', meaning: 'Logprobs of the output, of the unchanged logits.' }),
  add_generation_prompt: bool({
    default: 'true, but false with `continue_final_message`',
    meaning: "The template's beginning of an answer.",
  }),
  continue_final_message: bool({ default: 'false', meaning: 'The output goes on with the last message.' }),
  add_special_tokens: bool({
    default: 'false',
    meaning: "The tokenizer's own special tokens, beside those of the template.",
  }),
  chat_template_kwargs: shaped(z.record(z.string().max(100), z.unknown()), {
    type: 'object',
    expected:
      'an object with names of at most 100 characters, of 16384 characters as JSON, without `chat_template` and `tokenize`',
    max: '16384 characters as JSON',
    default: 'none',
    meaning: 'More variables for the chat template.',
  }),
  documents: shaped(listOf(z.record(z.string().max(100), z.string()), { minItems: 0, maxItems: 256 }), {
    type: 'list of objects of texts',
    expected: 'a list of at most 256 objects of texts, with names of at most 100 characters',
    max: '256 items',
    default: 'none',
    meaning: "The template's variable `documents`.",
  }),
  reasoning_effort: oneOf(['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'], {
    default: 'none given',
    meaning: "The template's variables `reasoning_effort` and, unless given, `enable_thinking`.",
  }),
  return_prompt_text: bool({ default: 'false', meaning: 'Adds `prompt_text`, the rendered prompt.' }),
} satisfies FieldTable;

type Prompt = string | readonly string[] | readonly number[] | readonly (readonly number[])[];

const promptField = shaped(
  // By hand: a schema of alternatives would list what is wrong with each of 10^5 items, once per alternative.
  z.custom<Prompt>((value) => isText(value) || isIdList(value) || isListOf(isText, value) || isListOf(isIdList, value)),
  {
    type: 'text, list of texts, list of token ids, or list of such lists',
    expected: `text, a list of texts, a list of token ids or a list of token id lists; at most ${promptsMax} prompts, none of them empty`,
    min: '1 tokens each',
    max: `${promptsMax} prompts`,
    default: 'required',
    meaning: 'Special tokens spelt out in it are special tokens.',
  },
);

function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== '' && value.isWellFormed();
}

function isIdList(value: unknown): boolean {
  const isId = (id: unknown): boolean => Number.isInteger(id) && Number(id) >= 0 && Number(id) <= idMax;
  return Array.isArray(value) && value.length > 0 && value.every(isId);
}

function isListOf(isItem: (item: unknown) => boolean, value: unknown): boolean {
  return Array.isArray(value) && value.length > 0 && value.length <= promptsMax && value.every(isItem);
}

const completionFields = {
  max_tokens: int({ min: 0, max: idMax, default: '16', meaning: 'Tokens of the output at most. 0 only with `echo`.' }),
  add_special_tokens: bool({ default: 'true', meaning: "The tokenizer's own special tokens, BOS and the like." }),
} satisfies FieldTable;

/** Bounds that a server sets for itself. */
export interface RequestBounds {
  /** Most logprobs at each position. */
  readonly maxLogprobs: number;
}

/** vLLM's. */
export const defaultRequestBounds: RequestBounds = { maxLogprobs: 20 };

type LogprobField = Field<z.ZodInt>;

/** The fields of each endpoint, `common` those of both. */
export interface RequestFields {
  readonly common: typeof commonFields & {
    readonly prompt_logprobs: LogprobField;
    readonly logprob_token_ids: Field<z.ZodType<number[]>>;
  };
  readonly chat: typeof chatFields & { readonly top_logprobs: LogprobField };
  readonly completion: typeof completionFields & { readonly logprobs: LogprobField };
  readonly messages: typeof messagesField;
  readonly prompt: typeof promptField;
}

export function requestFields({ maxLogprobs }: RequestBounds): RequestFields {
  const logprobs = { min: 0, max: maxLogprobs };
  return {
    common: {
      ...commonFields,
      prompt_logprobs: int({
        ...logprobs,
        default: 'none',
        meaning: 'Logprobs of the prompt and of this many likeliest tokens at each position. Not with `stream`.',
      }),
      logprob_token_ids: intList({
        min: 0,
        max: idMax,
        minItems: Math.min(1, maxLogprobs),
        maxItems: maxLogprobs,
        default: 'the likeliest',
        meaning:
          'Tokens whose logprobs are given at each position of the output, in place of the likeliest. Only with `logprobs`.',
      }),
    },
    chat: {
      ...chatFields,
      top_logprobs: int({
        ...logprobs,
        default: '0',
        meaning: 'Likeliest tokens at each position. Only with `logprobs`.',
      }),
    },
    completion: {
      ...completionFields,
      logprobs: int({
        ...logprobs,
        default: 'none',
        meaning: 'Logprobs of the output and of this many likeliest tokens at each position, of the unchanged logits.',
      }),
    },
    messages: messagesField,
    prompt: promptField,
  };
}
