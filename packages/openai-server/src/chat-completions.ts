import { answer } from './answer.ts';
import { ChatFormat } from './chat-format.ts';
import type { ChoiceRequest } from './choice.ts';
import type { Exchange } from './exchange.ts';
import { logitRulesOf } from './logit-rules.ts';
import { tokenNamesOf } from './logprobs.ts';
import { PromptEncoder } from './prompt-encoder.ts';
import type { ChatRequest } from './request-schema.ts';
import { maxTokensFor, sharedSampling } from './sampling.ts';
import { logPrompt, modelNameOf, priorityOf, readJson, replicaOf, type Serving, textOptionsOf } from './serving.ts';
import type { ChatMessage, RenderChatOptions } from './text-codec.ts';

/** POST /v1/chat/completions */
export async function chatCompletions(exchange: Exchange, serving: Serving): Promise<void> {
  const request = serving.requests.chat(await readJson(exchange, serving));
  const model = modelNameOf(request, serving);
  logPrompt(exchange, serving, request.messages);
  const { codec, maxModelLen } = serving;
  const numTop = request.logprobs === true ? (request.logprob_token_ids?.length ?? request.top_logprobs ?? 0) : null;
  const numPromptTop = request.prompt_logprobs ?? null;
  const priority = priorityOf(request, serving);
  const replica = replicaOf(exchange, serving);
  const logitRules = await logitRulesOf(request, serving.sampling, codec);
  const sampling = sharedSampling(
    request,
    { numLogprobs: numTop, numPromptLogprobs: numPromptTop, logitRules },
    serving.sampling,
  );

  const asked = request.max_completion_tokens ?? request.max_tokens ?? null;
  const encoder = new PromptEncoder(request, codec, { maxModelLen, numOutputTokens: asked, param: 'body.messages' });
  const messages = messagesOf(request);
  encoder.checkLength(messages.reduce((sum, { content }) => sum + content.length, 0));
  const prompt = await codec.renderChat(messages, renderOptionsOf(request));
  const promptTokenIds = encoder.truncate(prompt.tokenIds);
  const maxTokens = maxTokensFor(promptTokenIds.length, {
    maxModelLen,
    asked,
    fallback: serving.sampling.defaults.maxNewTokens,
    promptParam: 'body.messages',
    askedParam: request.max_completion_tokens == null ? 'body.max_tokens' : 'body.max_completion_tokens',
  });

  const n = request.n ?? 1;
  const text = textOptionsOf(request, numTop, serving);
  const choices = Array.from({ length: n }, (_, index): ChoiceRequest => {
    const generate = {
      requestId: `${exchange.workId}-${index}`,
      promptTokenIds,
      sampling: { ...sampling, choice: index, maxTokens },
      client: exchange.client,
      cacheSalt: request.cache_salt ?? null,
      replica,
      priority,
    };
    return { index, generate, text };
  });
  const last = messages.at(-1);
  // Without the beginning of an answer, what is generated is more of the last message.
  const role = generationPromptOf(request) ? 'assistant' : (last?.role ?? 'assistant');
  const format = new ChatFormat({
    header: {
      id: `chatcmpl-${request.request_id ?? exchange.requestId}`,
      created: Math.floor(serving.now() / 1000),
      model,
    },
    numChoices: n,
    numTop,
    numPromptTop,
    role,
    echo: request.echo === true && last?.role === role ? last.content : '',
    promptTokenIds: request.return_token_ids === true ? promptTokenIds : null,
    promptText: request.return_prompt_text === true ? prompt.text : null,
    codec: tokenNamesOf(request, codec),
  });
  await answer(exchange, { choices, numPromptTokens: promptTokenIds.length, format, request }, serving);
}

function generationPromptOf(request: ChatRequest): boolean {
  return request.add_generation_prompt ?? request.continue_final_message !== true;
}

function renderOptionsOf(request: ChatRequest): RenderChatOptions {
  const { documents, reasoning_effort: effort } = request;
  return {
    addGenerationPrompt: generationPromptOf(request),
    continueFinalMessage: request.continue_final_message ?? false,
    addSpecialTokens: request.add_special_tokens ?? false,
    templateKwargs: {
      ...(effort == null ? {} : { reasoning_effort: effort, enable_thinking: effort !== 'none' }),
      ...(documents == null ? {} : { documents }),
      ...request.chat_template_kwargs,
    },
  };
}

function messagesOf(request: ChatRequest): ChatMessage[] {
  return request.messages.map(({ role, content, name }) => {
    const text = typeof content === 'string' ? content : (content ?? []).map((part) => part.text).join('\n');
    return { role, content: text, ...(name == null ? {} : { name }) };
  });
}
