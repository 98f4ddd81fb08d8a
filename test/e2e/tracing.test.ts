import { expect, test } from 'vitest';
import { type CollectedSpan, startCollector } from '../support/collector.ts';
import { client, until, up } from '../support/cluster.ts';

test("one trace goes from the client's span over router and leader to each step", async () => {
  await using collector = await startCollector();
  await using cluster = await up([], { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url });
  const traceId = '0af7651916cd43dd8448eb211c80319c';
  const clientSpan = 'b7ad6b7169203331';
  const ask = (traceparent: string): ReturnType<typeof answer> => answer(cluster.url, traceparent);
  const { usage } = await ask(`00-${traceId}-${clientSpan}-01`);
  const named = (name: string): CollectedSpan[] =>
    collector.spans.filter((span) => span.name === name && span.traceId === traceId);
  await until('the spans of both processes', 20_000, () => {
    return named('llm_request').length === 1 && named('relay').length === 1;
  });

  const servers = named('POST /v1/chat/completions');
  const router = servers.find(({ service }) => service === 'skein-router');
  const leader = servers.find(({ service }) => service === 'skein-leader');
  const [relay] = named('relay');
  const [request] = named('llm_request');
  expect(router?.parentSpanId).toBe(clientSpan);
  expect(relay?.parentSpanId).toBe(router?.spanId);
  expect(leader?.parentSpanId).toBe(relay?.spanId);
  expect(request?.parentSpanId).toBe(leader?.spanId);
  expect(leader?.attributes['skein.request_id']).toBe(router?.attributes['skein.request_id']);
  expect(request?.attributes).toMatchObject({
    'gen_ai.usage.prompt_tokens': usage?.prompt_tokens,
    'gen_ai.usage.completion_tokens': usage?.completion_tokens,
    'gen_ai.response.finish_reason': 'stop',
    'gen_ai.latency.time_to_first_token': expect.any(Number),
  });
  const steps = named('step');
  expect(steps.length).toBe(request?.attributes['skein.steps']);
  expect(steps.length).toBeGreaterThanOrEqual(usage?.completion_tokens ?? NaN);
  for (const step of steps) {
    expect(step.parentSpanId).toBe(request?.spanId);
    expect(step.durationNs).toBeGreaterThan(0n);
  }
  expect(steps.reduce((sum, step) => sum + Number(step.attributes['skein.step.tokens']), 0)).toBeGreaterThanOrEqual(
    usage?.prompt_tokens ?? NaN,
  );

  // A client that does not record its trace has none here either; and probes make none.
  const before = collector.spans.length;
  await ask('00-11111111111111111111111111111111-2222222222222222-00');
  await ask(`00-${traceId}-${clientSpan}-01`);
  await until('the next trace', 20_000, () => named('llm_request').length === 2);
  expect(collector.spans.slice(before).filter((span) => span.traceId.startsWith('1111'))).toEqual([]);
  expect(collector.spans.filter(({ name }) => /topology|health|ready|metrics/.test(name))).toEqual([]);
});

test('a collector that is away holds nothing up', async () => {
  await using cluster = await up([], { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://127.0.0.1:9/v1/traces' });
  const { choices } = await answer(cluster.url, '');
  expect(choices[0]?.message.content).toContain('Paris');
  cluster.process.child.kill('SIGTERM');
  expect(await cluster.process.exit()).toBe(0);
});

async function answer(
  url: string,
  traceparent: string,
): Promise<{
  choices: { message: { content: string | null } }[];
  usage?: { prompt_tokens: number; completion_tokens: number };
}> {
  return client(url).chat.completions.create(
    { model: 'tiny-chat', messages: [{ role: 'user', content: 'What is the capital of France?' }] },
    traceparent === '' ? {} : { headers: { traceparent } },
  );
}
