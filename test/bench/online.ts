import { serve, type Served, up } from '../support/cluster.ts';
import { benchResult, type BenchResult } from './bench-result.ts';
import { HttpLoad, type StreamTiming } from './http-load.ts';
import { percentile } from './statistics.ts';

const ROUNDS = 3;
const MAX_TOKENS = 64;
/** Requests that each stream sends, one after another, in a round. */
const LOADS = [
  { streams: 1, requests: 16 },
  { streams: 8, requests: 4 },
  { streams: 32, requests: 2 },
];
const QUIET = ['--log-level', 'warn'];

/** The same two compute threads as one rank, and as two stages of one thread behind router and broker. */
const SERVERS: readonly { readonly name: string; readonly start: () => Promise<Served> }[] = [
  { name: '1 rank', start: () => serve(['--threads', '2', ...QUIET]) },
  { name: 'pp 2', start: () => up(['--pp', '2', '--threads', '1', ...QUIET]) },
];

/** What one server did under one load, over all rounds. */
interface Observed {
  readonly timings: StreamTiming[];
  seconds: number;
}

/** Latency and rate of examples/tiny-chat over HTTP: one rank against two stages, one server at a time, in turns. */
export async function online(progress: (line: string) => void): Promise<BenchResult[]> {
  const observed = SERVERS.map(() => LOADS.map((): Observed => ({ timings: [], seconds: 0 })));
  for (let round = 1; round <= ROUNDS; round++) {
    for (const [s, { name, start }] of SERVERS.entries()) {
      progress(`round ${round} of ${ROUNDS}: ${name}`);
      await using server = await start();
      await using load = new HttpLoad();
      await Promise.all(Array.from({ length: 4 }, (_, i) => load.stream(server.url, question(`warm-up ${i}`))));
      for (const [l, { streams, requests }] of LOADS.entries()) {
        const into = observed[s]?.[l];
        const startMs = performance.now();
        const timings = await inStreams(streams, requests, (id) =>
          load.stream(server.url, question(`${round}-${streams}-${id}`)),
        );
        if (into) into.seconds += (performance.now() - startMs) / 1000;
        into?.timings.push(...timings);
      }
    }
  }
  const [single = [], pipelined = []] = observed;
  return LOADS.flatMap(({ streams }, l) => {
    const [a, b] = [single[l], pipelined[l]];
    return a && b ? compare(`${streams} stream${streams > 1 ? 's' : ''}`, a, b) : [];
  });
}

function compare(load: string, single: Observed, pipelined: Observed): BenchResult[] {
  const both = (what: string, unit: string, figure: (o: Observed) => number): BenchResult =>
    benchResult({
      name: `pp 2, ${load}, ${what}`,
      unit,
      value: figure(pipelined),
      peer: '1 rank',
      peerValue: figure(single),
    });
  const firstTokens = (o: Observed): number[] => o.timings.map((t) => t.firstTokenMs);
  const gaps = (o: Observed): number[] => o.timings.flatMap((t) => t.tokenGapsMs);
  return [
    both('TTFT p50', 'ms', (o) => percentile(firstTokens(o), 50)),
    both('TTFT p99', 'ms', (o) => percentile(firstTokens(o), 99)),
    both('inter-token p50', 'ms', (o) => percentile(gaps(o), 50)),
    both('inter-token p99', 'ms', (o) => percentile(gaps(o), 99)),
    both('rate', 'tok/s', (o) => o.timings.reduce((sum, t) => sum + t.numTokens, 0) / o.seconds),
  ];
}

/** `requests` calls one after another in each of `streams` chains at once. */
async function inStreams(
  streams: number,
  requests: number,
  send: (id: string) => Promise<StreamTiming>,
): Promise<StreamTiming[]> {
  const chain = async (stream: number): Promise<StreamTiming[]> => {
    const timings: StreamTiming[] = [];
    for (let n = 0; n < requests; n++) timings.push(await send(`${stream}-${n}`));
    return timings;
  };
  return (await Promise.all(Array.from({ length: streams }, (_, stream) => chain(stream)))).flat();
}

/** Answers of one length, whatever the model says; the id keeps prompts apart in a prefix cache. */
function question(id: string): object {
  return {
    messages: [{ role: 'user', content: `${id}: What is the capital of France?` }],
    max_tokens: MAX_TOKENS,
    temperature: 0,
    ignore_eos: true,
    skip_special_tokens: false,
  };
}
