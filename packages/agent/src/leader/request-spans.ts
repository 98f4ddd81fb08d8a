import type { EngineObserver, RequestOutcome, RequestStep } from '@skein/engine';
import type { EngineClient, GenerateEvent, GenerateRequest } from '@skein/openai-server';
import type { Tracing, TraceSpan } from '@skein/telemetry';

/** Steps of one request that have spans of their own; a long answer's later ones are only counted. */
const STEP_SPANS_MAX = 128;

interface TracedRequest {
  readonly span: TraceSpan;
  numSteps: number;
}

/** A span for each request to an engine, named and labelled as vLLM's are, with one below it for each step that it took part
 *  in. */
export class RequestSpans {
  readonly #tracing: Tracing;
  readonly #requests = new Map<string, TracedRequest>();

  constructor(tracing: Tracing) {
    this.#tracing = tracing;
  }

  /** To be told by the engine. */
  readonly observer: Pick<EngineObserver, 'onRequestStep' | 'onFinished' | 'onPreemption'> = {
    onRequestStep: (step) => this.#onStep(step),
    onFinished: (outcome) => this.#onFinished(outcome),
    onPreemption: ({ requestId, cause }) => this.#requests.get(requestId)?.span.event('preempted', { cause }),
  };

  /** `engine`, with a span of each request. */
  over(engine: EngineClient): EngineClient {
    return { generate: (request, signal) => this.#generate(engine, request, signal) };
  }

  async *#generate(
    engine: EngineClient,
    request: GenerateRequest,
    signal: AbortSignal,
  ): AsyncGenerator<GenerateEvent, void, undefined> {
    const { requestId, sampling, promptTokenIds, traceHeaders } = request;
    const span = this.#tracing.span('llm_request', traceHeaders ?? {}, {
      attributes: {
        'gen_ai.request.id': requestId,
        'gen_ai.request.max_tokens': sampling.maxTokens,
        'gen_ai.request.temperature': sampling.temperature,
        'gen_ai.request.top_p': sampling.topP,
        'gen_ai.usage.prompt_tokens': promptTokenIds.length,
      },
    });
    const traced = { span, numSteps: 0 };
    if (span.isRecording) this.#requests.set(requestId, traced);
    let error: string | null = null;
    try {
      yield* engine.generate(request, signal);
    } catch (thrown) {
      error = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'ERR_INTERNAL';
      throw thrown;
    } finally {
      this.#requests.delete(requestId);
      span.set({ 'skein.steps': traced.numSteps });
      span.end({ error });
    }
  }

  #onStep({ requestId, step, startMs, endMs, numTokens, numSeqs }: RequestStep): void {
    const traced = this.#requests.get(requestId);
    if (!traced) return;
    traced.numSteps += 1;
    if (traced.numSteps > STEP_SPANS_MAX) return;
    const attributes = { 'skein.step': step, 'skein.step.tokens': numTokens, 'skein.step.sequences': numSeqs };
    traced.span.child('step', { attributes, startMs }).end({ endMs });
  }

  #onFinished(outcome: RequestOutcome): void {
    const { queueMs, timeToFirstTokenMs, totalMs } = outcome;
    const seconds = (name: string, ms: number | null): Record<string, number> =>
      ms === null ? {} : { [`gen_ai.latency.${name}`]: ms / 1000 };
    const between = (from: number | null, to: number | null): number | null =>
      from === null || to === null ? null : to - from;
    this.#requests.get(outcome.requestId)?.span.set({
      'gen_ai.usage.completion_tokens': outcome.numOutputTokens,
      'gen_ai.response.finish_reason': outcome.reason,
      'skein.preemptions': outcome.numPreemptions,
      ...seconds('time_in_queue', queueMs),
      ...seconds('time_to_first_token', timeToFirstTokenMs),
      ...seconds('time_in_model_prefill', between(queueMs, timeToFirstTokenMs)),
      ...seconds('time_in_model_decode', between(timeToFirstTokenMs, totalMs)),
      ...seconds('time_in_model_inference', between(queueMs, totalMs)),
      ...seconds('e2e', totalMs),
    });
  }
}
