import { z } from 'zod';
import { invalidBody } from './errors.ts';
import type { ChatRequest, CommonRequest, CompletionRequest } from './requests.ts';
import { refuseUnsupportedFields } from './unsupported-fields.ts';

// Bounds are those of vLLM where it has them, else generous ones: each field of a request has a least, a most and a type.
const maxTokens = z
  .int()
  .min(1)
  .max(2 ** 31);
const temperature = z.number().min(0).max(100);
const topLogprobs = z.int().min(0).max(20);
const stop = z
  .string()
  .min(1)
  .max(256)
  .refine((text) => text.isWellFormed(), 'must be well-formed text');
const modelName = z.string().min(1).max(500);

const fields = {
  model: modelName.nullish(),
  stream: z.boolean().nullish(),
  stream_options: z
    .object({ include_usage: z.boolean().nullish(), continuous_usage_stats: z.boolean().nullish() })
    .nullish(),
  n: z.int().min(1).max(128).nullish(),
  temperature: temperature.nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(-1).max(262_144).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  seed: z.int().nullish(),
  stop: z
    .union([stop, z.array(stop).max(16)], 'expected a string of 1 to 256 characters or a list of at most 16')
    .nullish(),
  stop_token_ids: z
    .array(
      z
        .int()
        .min(0)
        .max(2 ** 31),
    )
    .max(64)
    .nullish(),
  ignore_eos: z.boolean().nullish(),
  include_stop_str_in_output: z.boolean().nullish(),
  skip_special_tokens: z.boolean().nullish(),
  prompt_logprobs: topLogprobs.nullish(),
};

const textPart = z.object({ type: z.literal('text', 'only text parts are supported'), text: z.string() });

const message = z.object({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
  content: z.union([z.string(), z.array(textPart).max(2048)], 'expected text or a list of text parts').nullish(),
  name: z.string().max(256).nullish(),
  tool_calls: z.array(z.unknown()).max(0, 'tool calls are not supported').nullish(),
});

const chatSchema = z.object({
  ...fields,
  messages: z.array(message).min(1).max(2048),
  max_tokens: maxTokens.nullish(),
  max_completion_tokens: maxTokens.nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: topLogprobs.nullish(),
  add_generation_prompt: z.boolean().nullish(),
  continue_final_message: z.boolean().nullish(),
  chat_template_kwargs: z.record(z.string().max(100), z.unknown()).nullish(),
});

const tokenIds = z
  .array(
    z
      .int()
      .min(0)
      .max(2 ** 31),
  )
  .min(1);
const prompt = z.union(
  [z.string(), z.array(z.string()).min(1).max(1024), tokenIds, z.array(tokenIds).min(1).max(1024)],
  'expected text, a list of texts, a list of token ids or a list of token id lists; none of them empty',
);

const completionSchema = z.object({
  ...fields,
  prompt,
  max_tokens: z
    .int()
    .min(0)
    .max(2 ** 31)
    .nullish(),
  logprobs: topLogprobs.nullish(),
  echo: z.boolean().nullish(),
  add_special_tokens: z.boolean().nullish(),
});

export function parseChatRequest(body: unknown): ChatRequest {
  const request = parse(chatSchema, body);
  if (request.top_logprobs != null && request.top_logprobs > 0 && request.logprobs !== true) {
    throw invalidBody('when using `top_logprobs`, `logprobs` must be set to true.', 'body.top_logprobs');
  }
  checkTemplateKwargs(request.chat_template_kwargs);
  if (request.continue_final_message === true && request.add_generation_prompt === true) {
    throw invalidBody('cannot be set together with `add_generation_prompt`.', 'body.continue_final_message');
  }
  return request;
}

export function parseCompletionRequest(body: unknown): CompletionRequest {
  const request = parse(completionSchema, body);
  if (request.max_tokens === 0 && request.echo !== true)
    throw invalidBody('must be at least 1 without `echo`.', 'body.max_tokens');
  return request;
}

function parse<T extends CommonRequest>(schema: z.ZodType<T>, body: unknown): T {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw invalidBody('The body must be a JSON object.', 'body');
  refuseUnsupportedFields(body);
  const result = schema.safeParse(body);
  if (!result.success) {
    const issue = result.error.issues[0];
    const param = ['body', ...(issue?.path ?? [])].join('.').slice(0, 200);
    throw invalidBody(`${param}: ${issue?.message ?? 'invalid'}`, param);
  }
  const request = result.data;
  if (request.stream_options != null && request.stream !== true) {
    throw invalidBody('Stream options can only be defined when `stream=True`.', 'body.stream_options');
  }
  if (request.stream === true && request.prompt_logprobs != null) {
    throw invalidBody('`prompt_logprobs` are not available when `stream=True`.', 'body.prompt_logprobs');
  }
  return request;
}

function checkTemplateKwargs(kwargs: Readonly<Record<string, unknown>> | null | undefined): void {
  if (kwargs == null) return;
  const param = 'body.chat_template_kwargs';
  for (const name of ['chat_template', 'tokenize']) {
    if (Object.hasOwn(kwargs, name)) throw invalidBody(`\`${name}\` cannot be set here.`, param);
  }
  if (JSON.stringify(kwargs).length > 16_384) throw invalidBody('is larger than 16384 characters.', param);
}
