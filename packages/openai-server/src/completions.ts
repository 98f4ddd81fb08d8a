import { answer } from './answer.ts';
import type { ChoiceRequest } from './choice.ts';
import { CompletionFormat } from './completion-format.ts';
import { badRequest, invalidBody } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { logitRulesOf } from './logit-rules.ts';
import { tokenNamesOf } from './logprobs.ts';
import { PromptEncoder } from './prompt-encoder.ts';
import type { CompletionRequest } from './request-schema.ts';
import { maxTokensFor, sharedSampling } from './sampling.ts';
import { logPrompt, modelNameOf, priorityOf, readJson, replicaOf, type Serving, textOptionsOf } from './serving.ts';
import type { RenderedPrompt, TextCodec } from './text-codec.ts';

/** OpenAI's default for this endpoint. */
const defaultMaxTokens = 16;

/** POST /v1/completions */
export async function completions(exchange: Exchange, serving: Serving): Promise<void> {
  const request = serving.requests.completion(await readJson(exchange, serving));
  const model = modelNameOf(request, serving);
  logPrompt(exchange, serving, request.prompt);
  const n = request.n ?? 1;
  const priority = priorityOf(request, serving);
  const replica = replicaOf(exchange, serving);
  const { codec } = serving;
  const logitRules = await logitRulesOf(request, serving.sampling, codec);
  const numTop = request.logprobs == null ? null : (request.logprob_token_ids?.length ?? request.logprobs);
  const numPromptTop = request.prompt_logprobs ?? null;
  const numPromptLogprobs = Math.max(numPromptTop ?? -1, request.echo === true ? (numTop ?? -1) : -1);
  const sampling = sharedSampling(
    request,
    { numLogprobs: numTop, numPromptLogprobs: numPromptLogprobs < 0 ? null : numPromptLogprobs, logitRules },
    serving.sampling,
  );
  const prompts = await promptsOf(request, serving, n);
  const text = { ...textOptionsOf(request, numTop, serving), discardOutput: request.max_tokens === 0 };

  const choices: ChoiceRequest[] = [];
  for (const prompt of prompts) {
    const asked = request.max_tokens == null ? null : Math.max(request.max_tokens, 1);
    const maxTokens = maxTokensFor(prompt.tokenIds.length, {
      maxModelLen: serving.maxModelLen,
      asked,
      fallback: defaultMaxTokens,
      promptParam: 'body.prompt',
      askedParam: 'body.max_tokens',
    });
    for (let choice = 0; choice < n; choice++) {
      const index = choices.length;
      const generate = {
        requestId: `${exchange.workId}-${index}`,
        promptTokenIds: prompt.tokenIds,
        sampling: { ...sampling, choice, maxTokens },
        client: exchange.client,
        cacheSalt: request.cache_salt ?? null,
        replica,
        priority,
      };
      choices.push({ index, generate, text });
    }
  }
  const format = new CompletionFormat({
    header: {
      id: `cmpl-${request.request_id ?? exchange.requestId}`,
      created: Math.floor(serving.now() / 1000),
      model,
    },
    prompts: choices.map(({ index }) => prompts[Math.floor(index / n)] ?? { text: '', tokenIds: [] }),
    echo: request.echo ?? false,
    returnTokenIds: request.return_token_ids ?? false,
    numTop,
    numPromptTop,
    codec: tokenNamesOf(request, codec),
  });
  const numPromptTokens = prompts.reduce((sum, prompt) => sum + prompt.tokenIds.length, 0);
  await answer(exchange, { choices, numPromptTokens, format, request }, serving);
}

async function promptsOf(request: CompletionRequest, serving: Serving, n: number): Promise<RenderedPrompt[]> {
  const given = listOf(request.prompt);
  if (given.length * n > serving.maxChoices) {
    throw badRequest(
      `${given.length} prompts with n = ${n} are more than ${serving.maxChoices} choices.`,
      'body.prompt',
    );
  }
  const { codec, maxModelLen } = serving;
  const limits = { maxModelLen, numOutputTokens: request.max_tokens ?? defaultMaxTokens, param: 'body.prompt' };
  const encoder = new PromptEncoder(request, codec, limits);
  const options = { addSpecialTokens: request.add_special_tokens ?? true };
  const wantsText = request.echo === true;
  const skipSpecialTokens = request.skip_special_tokens ?? true;
  const prompts = given.map(async (prompt): Promise<RenderedPrompt> => {
    const isText = typeof prompt === 'string';
    if (!isText) checkTokenIds(prompt, serving.sampling.vocabSize);
    const tokenIds = isText ? await encoder.encode(prompt, options) : encoder.truncate(prompt);
    if (isText && request.truncate_prompt_tokens == null) return { tokenIds, text: prompt };
    return { tokenIds, text: wantsText ? decode(tokenIds, codec, skipSpecialTokens) : '' };
  });
  return Promise.all(prompts);
}

function listOf(prompt: CompletionRequest['prompt']): readonly (string | readonly number[])[] {
  if (typeof prompt === 'string') return [prompt];
  return typeof prompt[0] === 'number' ? [prompt as number[]] : (prompt as (string | number[])[]);
}

function checkTokenIds(ids: readonly number[], vocabSize: number): void {
  const outside = ids.find((id) => id >= vocabSize);
  if (outside !== undefined) {
    throw invalidBody(`body.prompt: token id ${outside} is outside the vocabulary of ${vocabSize}.`, 'body.prompt');
  }
}

function decode(ids: readonly number[], codec: TextCodec, skipSpecialTokens: boolean): string {
  const detokenizer = codec.createDetokenizer({ skipSpecialTokens, position: 'start' });
  return ids.map((id) => detokenizer.add(id)).join('') + detokenizer.flush();
}
