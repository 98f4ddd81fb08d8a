import { answer } from './answer.ts';
import { ChatFormat } from './chat-format.ts';
import type { ChoiceRequest } from './choice.ts';
import type { Exchange } from './exchange.ts';
import { parseChatRequest } from './request-schema.ts';
import type { ChatRequest } from './requests.ts';
import { maxTokensFor, sharedSampling } from './sampling.ts';
import { modelNameOf, readJson, type Serving, stopsOf } from './serving.ts';
import type { ChatMessage } from './text-codec.ts';

/** POST /v1/chat/completions */
export async function chatCompletions(exchange: Exchange, serving: Serving): Promise<void> {
  const request = parseChatRequest(await readJson(exchange, serving));
  const model = modelNameOf(request, serving);
  const { codec, maxModelLen } = serving;
  const numTop = request.logprobs === true ? (request.top_logprobs ?? 0) : null;
  const numPromptTop = request.prompt_logprobs ?? null;
  const sampling = sharedSampling(request, { numLogprobs: numTop, numPromptLogprobs: numPromptTop }, serving.sampling);

  const promptTokenIds = await codec.renderChat(messagesOf(request), {
    addGenerationPrompt: request.add_generation_prompt ?? request.continue_final_message !== true,
    continueFinalMessage: request.continue_final_message ?? false,
    templateKwargs: request.chat_template_kwargs ?? {},
  });
  const maxTokens = maxTokensFor(promptTokenIds.length, {
    maxModelLen,
    asked: request.max_completion_tokens ?? request.max_tokens ?? null,
    fallback: serving.sampling.defaults.maxNewTokens,
    promptParam: 'body.messages',
    askedParam: request.max_completion_tokens == null ? 'body.max_tokens' : 'body.max_completion_tokens',
  });

  const n = request.n ?? 1;
  serving.vllmMetrics.onRequestParams({ n, maxTokens });
  const text = {
    stops: stopsOf(request),
    includeStop: request.include_stop_str_in_output ?? false,
    skipSpecialTokens: request.skip_special_tokens ?? true,
    discardOutput: false,
  };
  const choices = Array.from({ length: n }, (_, index): ChoiceRequest => {
    const generate = {
      requestId: `${exchange.workId}-${index}`,
      promptTokenIds,
      sampling: { ...sampling, choice: index, maxTokens },
      client: exchange.client,
    };
    return { index, generate, text };
  });
  const header = { id: `chatcmpl-${exchange.requestId}`, created: Math.floor(serving.now() / 1000), model };
  const format = new ChatFormat({ header, numChoices: n, numTop, numPromptTop, codec });
  await answer(exchange, { choices, numPromptTokens: promptTokenIds.length, format, request }, serving);
}

function messagesOf(request: ChatRequest): ChatMessage[] {
  return request.messages.map(({ role, content, name }) => {
    const text = typeof content === 'string' ? content : (content ?? []).map((part) => part.text).join('\n');
    return { role, content: text, ...(name == null ? {} : { name }) };
  });
}
