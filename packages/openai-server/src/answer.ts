import type { VllmMetrics } from '@skein/telemetry';
import { type AnswerFormat, type ChoiceCounts, type Usage, usageOf } from './answer-format.ts';
import { type ChoiceDelta, type ChoiceRequest, runChoice } from './choice.ts';
import { collectChoices } from './collect-choices.ts';
import type { EngineClient } from './engine-client.ts';
import { type Exchange, sendJson } from './exchange.ts';
import { mergeStreams } from './merge-streams.ts';
import type { CommonRequest } from './request-schema.ts';
import { SseWriter } from './sse-writer.ts';
import type { TextCodec } from './text-codec.ts';

export interface Work {
  readonly choices: readonly ChoiceRequest[];
  /** Each prompt counted once, however many choices it has. */
  readonly numPromptTokens: number;
  readonly format: AnswerFormat;
}

interface RunningWork extends Work {
  readonly request: Pick<CommonRequest, 'stream' | 'stream_options'>;
  readonly forceIncludeUsage: boolean;
  /** Of each choice so far; it stands when the client leaves. */
  readonly counts: (ChoiceCounts | undefined)[];
}

/** Runs all choices of a request and answers it, as a stream or whole. However it ends, no choice runs on. */
export async function answer(
  exchange: Exchange,
  work: Work & Pick<RunningWork, 'request'>,
  dependencies: {
    readonly engine: EngineClient;
    readonly codec: TextCodec;
    readonly vllmMetrics: Pick<VllmMetrics, 'onRequestParams' | 'onAnswered'>;
    /** Whether streams end with the usage whatever they ask for. */
    readonly forceIncludeUsage: boolean;
  },
): Promise<void> {
  const ended = new AbortController();
  const signal = AbortSignal.any([exchange.signal, ended.signal]);
  const traceHeaders = exchange.span?.headers();
  const choices = work.choices.map((choice) =>
    traceHeaders === undefined ? choice : { ...choice, generate: { ...choice.generate, traceHeaders } },
  );
  const deltas = mergeStreams(choices.map((choice) => runChoice(choice, dependencies, signal)));
  const running: RunningWork = {
    ...work,
    forceIncludeUsage: dependencies.forceIncludeUsage,
    counts: choices.map(() => undefined),
  };
  exchange.note({ promptTokens: work.numPromptTokens, choices: choices.length });
  for (const { sampling } of choices.map((choice) => choice.generate)) {
    const n = choices.length / numPromptsOf(work);
    if (sampling.choice === 0) dependencies.vllmMetrics.onRequestParams({ n, maxTokens: sampling.maxTokens });
  }
  try {
    if (work.request.stream === true) await answerStream(exchange, running, deltas);
    else await answerWhole(exchange, running, deltas);
  } finally {
    ended.abort();
    exchange.note({ outputTokens: usageSoFar(running).completion_tokens });
    dependencies.vllmMetrics.onAnswered(Math.max(...running.counts.map((choice) => choice?.numTokens ?? 0)));
  }
}

async function answerWhole(exchange: Exchange, work: RunningWork, deltas: AsyncIterable<ChoiceDelta>): Promise<void> {
  const choices = await collectChoices(recorded(deltas, work.counts), work.choices.length);
  exchange.signal.throwIfAborted();
  exchange.note({ finish: choices[0]?.finishReason });
  sendJson(exchange.response, 200, work.format.whole(choices, usageSoFar(work)));
}

async function answerStream(exchange: Exchange, work: RunningWork, deltas: AsyncIterable<ChoiceDelta>): Promise<void> {
  const { format } = work;
  const options = work.request.stream_options;
  const includeUsage = work.forceIncludeUsage || options?.include_usage === true;
  const perChunk = includeUsage && options?.continuous_usage_stats === true;
  const sse = new SseWriter(exchange.response, exchange.signal);
  for await (const delta of deltas) {
    work.counts[delta.index] = delta;
    if (!sse.started) {
      sse.start();
      for (const json of format.opening()) await sse.write(json);
    }
    const json = format.chunk(delta, perChunk ? usageSoFar(work) : null);
    const drained = json === null ? undefined : sse.write(json);
    if (drained !== undefined) await drained;
    if (delta.finishReason !== null) exchange.note({ finish: delta.finishReason });
  }
  if (includeUsage) await sse.write(format.usageChunk(usageSoFar(work)));
  sse.done();
}

async function* recorded(
  deltas: AsyncIterable<ChoiceDelta>,
  counts: (ChoiceCounts | undefined)[],
): AsyncGenerator<ChoiceDelta, void, undefined> {
  for await (const delta of deltas) {
    counts[delta.index] = delta;
    yield delta;
  }
}

function usageSoFar(work: RunningWork): Usage {
  return usageOf(work.numPromptTokens, work.counts, work.choices.length / numPromptsOf(work));
}

function numPromptsOf({ choices }: Work): number {
  return choices.filter((choice) => choice.generate.sampling.choice === 0).length;
}
