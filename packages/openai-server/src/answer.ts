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

/** Runs all choices of a request and answers it, as a stream or whole. However it ends, no choice runs on. */
export async function answer(
  exchange: Exchange,
  work: Work & { readonly request: Pick<CommonRequest, 'stream' | 'stream_options'> },
  dependencies: { readonly engine: EngineClient; readonly codec: TextCodec },
): Promise<void> {
  const ended = new AbortController();
  const signal = AbortSignal.any([exchange.signal, ended.signal]);
  const traceHeaders = exchange.span?.headers();
  const choices = work.choices.map((choice) =>
    traceHeaders === undefined ? choice : { ...choice, generate: { ...choice.generate, traceHeaders } },
  );
  const deltas = mergeStreams(choices.map((choice) => runChoice(choice, dependencies, signal)));
  exchange.note({ promptTokens: work.numPromptTokens, choices: work.choices.length });
  try {
    if (work.request.stream === true) await answerStream(exchange, work, deltas);
    else await answerWhole(exchange, work, deltas);
  } finally {
    ended.abort();
  }
}

async function answerWhole(exchange: Exchange, work: Work, deltas: AsyncIterable<ChoiceDelta>): Promise<void> {
  const choices = await collectChoices(deltas, work.choices.length);
  exchange.signal.throwIfAborted();
  const usage = workUsage(work, choices);
  exchange.note({ outputTokens: usage.completion_tokens, finish: choices[0]?.finishReason });
  sendJson(exchange.response, 200, work.format.whole(choices, usage));
}

async function answerStream(
  exchange: Exchange,
  work: Work & { readonly request: Pick<CommonRequest, 'stream_options'> },
  deltas: AsyncIterable<ChoiceDelta>,
): Promise<void> {
  const { format } = work;
  const options = work.request.stream_options;
  const perChunk = options?.include_usage === true && options.continuous_usage_stats === true;
  const sse = new SseWriter(exchange.response, exchange.signal);
  const counts = Array.from<ChoiceCounts | undefined>({ length: work.choices.length });
  const usage = (): Usage => workUsage(work, counts);
  try {
    for await (const delta of deltas) {
      if (!sse.started) {
        sse.start();
        for (const json of format.opening()) await sse.write(json);
      }
      counts[delta.index] = delta;
      const json = format.chunk(delta, perChunk ? usage() : null);
      const drained = json === null ? undefined : sse.write(json);
      if (drained !== undefined) await drained;
      if (delta.finishReason !== null) exchange.note({ finish: delta.finishReason });
    }
    if (options?.include_usage === true) await sse.write(format.usageChunk(usage()));
    sse.done();
  } finally {
    exchange.note({ outputTokens: usage().completion_tokens });
  }
}

function workUsage(work: Work, counts: readonly (ChoiceCounts | undefined)[]): Usage {
  const numPrompts = work.choices.filter((choice) => choice.generate.sampling.choice === 0).length;
  return usageOf(work.numPromptTokens, counts, work.choices.length / numPrompts);
}
