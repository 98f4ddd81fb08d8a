import { answer } from './answer.ts';
import type { ChoiceRequest } from './choice.ts';
import { CompletionFormat, type EchoedPrompt } from './completion-format.ts';
import { badRequest, invalidBody } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { parseCompletionRequest } from './request-schema.ts';
import type { CompletionRequest } from './requests.ts';
import { maxTokensFor, sharedSampling } from './sampling.ts';
import { modelNameOf, readJson, type Serving, stopsOf } from './serving.ts';
import type { TextCodec } from './text-codec.ts';

/** OpenAI's default for this endpoint. */
const defaultMaxTokens = 16;

/** POST /v1/completions */
export async function completions(exchange: Exchange, serving: Serving): Promise<void> {
  const request = parseCompletionRequest(await readJson(exchange, serving));
  const model = modelNameOf(request, serving);
  const n = request.n ?? 1;
  const prompts = await promptsOf(request, serving, n);
  const numTop = request.logprobs ?? null;
  const numPromptTop = request.prompt_logprobs ?? null;
  const numPromptLogprobs = Math.max(numPromptTop ?? -1, request.echo === true ? (numTop ?? -1) : -1);
  const sampling = sharedSampling(
    request,
    { numLogprobs: numTop, numPromptLogprobs: numPromptLogprobs < 0 ? null : numPromptLogprobs },
    serving.sampling,
  );
  const text = {
    stops: stopsOf(request),
    includeStop: request.include_stop_str_in_output ?? false,
    skipSpecialTokens: request.skip_special_tokens ?? true,
    discardOutput: request.max_tokens === 0,
  };

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
    serving.vllmMetrics.onRequestParams({ n, maxTokens });
    for (let choice = 0; choice < n; choice++) {
      const index = choices.length;
      const requestId = `${exchange.workId}-${index}`;
      const generate = {
        requestId,
        promptTokenIds: prompt.tokenIds,
        sampling: { ...sampling, choice, maxTokens },
        client: exchange.client,
      };
      choices.push({ index, generate, text });
    }
  }
  const header = { id: `cmpl-${exchange.requestId}`, created: Math.floor(serving.now() / 1000), model };
  const echoes = choices.map(({ index }) => (request.echo === true ? (prompts[Math.floor(index / n)] ?? null) : null));
  const format = new CompletionFormat({ header, echoes, numTop, numPromptTop, codec: serving.codec });
  const numPromptTokens = prompts.reduce((sum, prompt) => sum + prompt.tokenIds.length, 0);
  await answer(exchange, { choices, numPromptTokens, format, request }, serving);
}

async function promptsOf(request: CompletionRequest, serving: Serving, n: number): Promise<EchoedPrompt[]> {
  const given = listOf(request.prompt);
  if (given.length * n > serving.maxChoices) {
    throw badRequest(
      `${given.length} prompts with n = ${n} are more than ${serving.maxChoices} choices.`,
      'body.prompt',
    );
  }
  const { codec } = serving;
  const skipSpecialTokens = request.skip_special_tokens ?? true;
  const prompts = given.map(async (prompt): Promise<EchoedPrompt> => {
    if (typeof prompt !== 'string') {
      checkTokenIds(prompt, codec.vocabSize);
      return { tokenIds: prompt, text: request.echo === true ? decode(prompt, codec, skipSpecialTokens) : '' };
    }
    const tokenIds = await codec.encodeText(prompt, { addSpecialTokens: request.add_special_tokens ?? true });
    if (tokenIds.length === 0) throw invalidBody('body.prompt: the prompt is empty.', 'body.prompt');
    return { tokenIds, text: prompt };
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
