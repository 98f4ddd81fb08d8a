import { z } from 'zod';
import { invalidBody } from './errors.ts';
import { type FieldTable, optionalShape } from './field.ts';
import { type RequestBounds, requestFields, type RequestFields } from './request-fields.ts';
import { refuseUnsupportedFields } from './unsupported-fields.ts';

type CommonShape = ReturnType<typeof optionalShape<RequestFields['common']>>;
type ChatShape = CommonShape &
  ReturnType<typeof optionalShape<RequestFields['chat']>> & {
    readonly messages: RequestFields['messages']['schema'];
  };
type CompletionShape = CommonShape &
  ReturnType<typeof optionalShape<RequestFields['completion']>> & {
    readonly prompt: RequestFields['prompt']['schema'];
  };

/** What both generating endpoints take, as it stands in the body; null is as good as absent. */
export type CommonRequest = Readonly<z.infer<z.ZodObject<CommonShape>>>;
export type ChatRequest = Readonly<z.infer<z.ZodObject<ChatShape>>>;
export type CompletionRequest = Readonly<z.infer<z.ZodObject<CompletionShape>>>;

/** Checks bodies against the table of fields. @throws ApiError 400 that names the field and what it takes. */
export class RequestParser {
  readonly #fields: RequestFields;
  readonly #chat: z.ZodObject<ChatShape>;
  readonly #completion: z.ZodObject<CompletionShape>;

  constructor(bounds: RequestBounds) {
    const fields = requestFields(bounds);
    const common = optionalShape(fields.common);
    this.#fields = fields;
    this.#chat = z.object({ ...common, ...optionalShape(fields.chat), messages: fields.messages.schema });
    this.#completion = z.object({ ...common, ...optionalShape(fields.completion), prompt: fields.prompt.schema });
  }

  chat(body: unknown): ChatRequest {
    const { common, chat, messages } = this.#fields;
    const request = parse(this.#chat, { ...common, ...chat, messages }, body);
    if (request.top_logprobs != null && request.top_logprobs > 0 && request.logprobs !== true) {
      throw invalidBody('when using `top_logprobs`, `logprobs` must be set to true.', 'body.top_logprobs');
    }
    checkLogprobIds(request, request.logprobs === true);
    checkTemplateKwargs(request.chat_template_kwargs, chat.chat_template_kwargs.expected);
    if (request.continue_final_message === true && request.add_generation_prompt === true) {
      throw invalidBody('cannot be set together with `add_generation_prompt`.', 'body.continue_final_message');
    }
    checkMinTokens(request, request.max_completion_tokens ?? request.max_tokens);
    return request;
  }

  completion(body: unknown): CompletionRequest {
    const { common, completion, prompt } = this.#fields;
    const request = parse(this.#completion, { ...common, ...completion, prompt }, body);
    if (request.max_tokens === 0 && request.echo !== true)
      throw invalidBody('body.max_tokens: must be at least 1 without `echo`.', 'body.max_tokens');
    checkLogprobIds(request, request.logprobs != null);
    checkMinTokens(request, request.max_tokens);
    return request;
  }
}

function checkLogprobIds({ logprob_token_ids: ids }: CommonRequest, hasLogprobs: boolean): void {
  if (ids == null || hasLogprobs) return;
  throw invalidBody('body.logprob_token_ids: needs `logprobs`.', 'body.logprob_token_ids');
}

function parse<T extends CommonRequest>(schema: z.ZodType<T>, fields: FieldTable, body: unknown): T {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw invalidBody('The body must be a JSON object.', 'body');
  refuseUnsupportedFields(body);
  const result = schema.safeParse(body);
  if (!result.success) throw fieldError(result.error.issues[0], fields, body);
  const request = result.data;
  if (request.stream_options != null && request.stream !== true) {
    throw invalidBody('Stream options can only be defined when `stream=True`.', 'body.stream_options');
  }
  if (request.stream === true && request.prompt_logprobs != null) {
    throw invalidBody('`prompt_logprobs` are not available when `stream=True`.', 'body.prompt_logprobs');
  }
  if (request.truncate_prompt_tokens === 0) {
    throw invalidBody('body.truncate_prompt_tokens: must be -1 or at least 1; got 0.', 'body.truncate_prompt_tokens');
  }
  return request;
}

/** Names the field, what it takes and what came. Inside `messages` the place and its own complaint say more. */
function fieldError(issue: z.core.$ZodIssue | undefined, fields: FieldTable, body: object): Error {
  const path = issue?.path ?? [];
  const name = String(path[0] ?? '');
  const field = fields[name];
  if (field === undefined || (name === 'messages' && path.length > 1)) {
    const place = ['body', ...path].join('.').slice(0, 200);
    return invalidBody(`${place}: ${issue?.message ?? 'invalid'}`, place);
  }
  const value: unknown = Object.entries(body).find(([key]) => key === name)?.[1];
  return invalidBody(`body.${name}: must be ${field.expected}; got ${shown(value)}.`, `body.${name}`);
}

/** A value in a few words: numbers and short texts as they are, no long list or text in full. */
function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return `a list of ${value.length} items`;
  if (typeof value === 'object' && value !== null) return `an object of ${Object.keys(value).length} fields`;
  if (typeof value === 'string' && value.length > 32) return `text of ${value.length} characters`;
  return typeof value === 'number' ? String(value) : JSON.stringify(value);
}

function checkMinTokens(request: CommonRequest, maxTokens: number | null | undefined): void {
  const least = request.min_tokens ?? 0;
  if (maxTokens == null || least <= Math.max(maxTokens, 1)) return;
  throw invalidBody(
    `body.min_tokens: must be at most the ${maxTokens} tokens asked for; got ${least}.`,
    'body.min_tokens',
  );
}

function checkTemplateKwargs(kwargs: ChatRequest['chat_template_kwargs'], expected: string): void {
  if (kwargs == null) return;
  const isReserved = ['chat_template', 'tokenize'].some((name) => Object.hasOwn(kwargs, name));
  if (!isReserved && isFinite(kwargs) && JSON.stringify(kwargs).length <= 16_384) return;
  const param = 'body.chat_template_kwargs';
  throw invalidBody(`${param}: must be ${expected}.`, param);
}

/** Whether all numbers in a value are. Its depth is that of a body. */
function isFinite(value: unknown): boolean {
  if (typeof value === 'number') return Number.isFinite(value);
  return typeof value !== 'object' || value === null || Object.values(value).every(isFinite);
}
