import { readCheckpointTensors } from '@skein/models';
import { descendants, freePort, type Launched, skein, TINY_CHAT } from '../support/cluster.ts';
import { benchResult, type BenchResult } from './bench-result.ts';
import { cachedCheckpoint } from './cached-checkpoint.ts';
import { HttpLoad } from './http-load.ts';
import { PeakMemory } from './peak-memory.ts';
import { median } from './statistics.ts';

const ROUNDS = 5;
const KV_CACHE_BYTES = 256 * 2 ** 20;
/** What a process may take beyond its weights and its KV cache. */
const SPARE_SHARE = 0.15;
const SPARE_BYTES = 150e6;
/** Each question costs the server time too. */
const POLL_MS = 10;
const DEADLINE_MS = 300_000;
/** Lines of the log. */
const [STARTED, LOADED] = ['started the rank process', 'loaded the weights'];
const REQUEST = { messages: [{ role: 'user', content: 'Hi' }], max_tokens: 1, temperature: 0, ignore_eos: true };

/** From the start of `skein serve` to its first token, of that from the start of its rank's process to loaded weights, with the
 *  weights in the page cache, and the memory that it takes to get there.
 *  Time and memory are measured in rounds of their own: reading the memory of a process holds it up. */
export async function startUp(progress: (line: string) => void): Promise<BenchResult[]> {
  const cases = [
    {
      name: 'llama-3.2-1b, bf16',
      dir: await cachedCheckpoint('llama-3.2-1b', progress),
      goalSeconds: 3,
      rankGoalSeconds: null,
    },
    { name: 'tiny-chat', dir: TINY_CHAT, goalSeconds: 0.5, rankGoalSeconds: 0.5 },
  ];
  const results: BenchResult[] = [];
  for (const { name, dir, goalSeconds, rankGoalSeconds } of cases) {
    progress(`${name}, memory`);
    const peakBytes = await peakMemory(dir);
    const seconds: number[] = [];
    const rankSeconds: number[] = [];
    for (let round = 1; round <= ROUNDS; round++) {
      progress(`${name}, start ${round} of ${ROUNDS}`);
      const start = await timedStart(dir);
      seconds.push(start.seconds);
      rankSeconds.push(start.rankSeconds);
    }
    const weightBytes = [...(await readCheckpointTensors(dir)).values()].reduce((sum, t) => sum + t.sizeBytes, 0);
    const mostBytes = (weightBytes + KV_CACHE_BYTES) * (1 + SPARE_SHARE) + SPARE_BYTES;
    results.push(
      benchResult({ name: `${name}, start to first token`, value: median(seconds), unit: 's', limit: goalSeconds }),
      benchResult({
        name: `${name}, start of the rank to loaded weights`,
        value: median(rankSeconds),
        unit: 's',
        ...(rankGoalSeconds === null ? {} : { limit: rankGoalSeconds }),
      }),
      benchResult({ name: `${name}, peak of a process`, value: peakBytes / 1e6, unit: 'MB', limit: mostBytes / 1e6 }),
    );
  }
  return results;
}

async function peakMemory(dir: string): Promise<number> {
  await using server = await launch(dir);
  const memory = new PeakMemory(() => descendants(server.process.pid).map(({ pid }) => pid));
  try {
    await firstToken(server);
    return memory.peakBytes();
  } finally {
    memory.stop();
  }
}

async function timedStart(dir: string): Promise<{ readonly seconds: number; readonly rankSeconds: number }> {
  const startMs = performance.now();
  await using server = await launch(dir);
  await firstToken(server);
  const seconds = (performance.now() - startMs) / 1000;
  const { output } = server.process;
  return { seconds, rankSeconds: (loggedAtMs(output, LOADED) - loggedAtMs(output, STARTED)) / 1000 };
}

/** When a line was logged, by the clock of the process that logged it. */
function loggedAtMs(output: string, message: string): number {
  const line = output.split('\n').find((text) => text.includes(`"msg":"${message}"`));
  if (line === undefined) throw new Error(`the log has no line "${message}":\n${output.slice(-4000)}`);
  return (JSON.parse(line) as { readonly time: number }).time;
}

interface Starting extends AsyncDisposable {
  readonly process: Launched;
  readonly url: string;
}

async function launch(dir: string): Promise<Starting> {
  const port = await freePort();
  const process = skein([
    ...['serve', dir, '--port', String(port), '--threads', '2', '--log-level', 'info', '--log-format', 'json'],
    ...['--max-model-len', '512', '--kv-cache-memory-bytes', String(KV_CACHE_BYTES)],
  ]);
  return { process, url: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: () => process[Symbol.asyncDispose]() };
}

/** Asks as soon as the server says that it is ready. */
async function firstToken({ process, url }: Starting): Promise<void> {
  const endMs = performance.now() + DEADLINE_MS;
  while ((await fetch(`${url}/readyz`).catch(() => null))?.status !== 200) {
    if (process.ended || performance.now() > endMs) throw new Error(`no start:\n${process.output.slice(-4000)}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  await using load = new HttpLoad();
  await load.stream(url, REQUEST);
}
