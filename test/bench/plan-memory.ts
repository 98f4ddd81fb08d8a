import { spawnSync } from 'node:child_process';
import { client, ROOT, skein, serving } from '../support/cluster.ts';
import { runFullLoad } from '../support/full-load.ts';
import { EmptyRank, loadedRanks } from '../support/rank-memory.ts';
import { benchResult, type BenchResult } from './bench-result.ts';
import { cachedCheckpoint } from './cached-checkpoint.ts';

const SHAPE = 'llama-3.2-1b';
const STREAMS = 2;
const BLOCKS = STREAMS * 33;
const DEADLINE_MS = 300_000;
const LIMITS = [
  ...['--max-num-seqs', String(STREAMS)],
  ...['--num-gpu-blocks-override', String(BLOCKS)],
  ...['--max-num-batched-tokens', '512'],
];
const LOAD = { model: SHAPE, streams: STREAMS, promptTokens: 512, answerTokens: 8, totalTokens: BLOCKS * 16 };
const FORMATIONS = {
  '1 rank': ['--tp', '1', '--pp', '1'],
  'pp 2': ['--tp', '1', '--pp', '2'],
  'tp 2': ['--tp', '2', '--pp', '1'],
} as const;

/** What `skein plan --cpu` says of each rank's memory, beside what the operating system says once all of it was used: Pss less an empty
 *  rank's. */
export async function planMemory(progress: (line: string) => void): Promise<BenchResult[]> {
  const dir = await cachedCheckpoint(SHAPE, progress);
  const results: BenchResult[] = [];
  for (const [name, degrees] of Object.entries(FORMATIONS)) {
    progress(name);
    const args = ['plan', dir, '--cpu', '--context', '1024', ...degrees, ...LIMITS, '--json'];
    const { stdout } = spawnSync(`${ROOT}packages/cli/bin/skein`, args, { encoding: 'utf8' });
    const { ranks } = JSON.parse(stdout) as { ranks: { usedBytes: number }[] };
    await using empty = await EmptyRank.start();
    const flags = ['--threads', '1', '--max-model-len', '1024', '--log-level', 'warn', ...degrees, ...LIMITS];
    await using served = await serving((port) => skein(['up', dir, '--port', String(port), ...flags]));
    await runFullLoad(client(served.url).withOptions({ timeout: DEADLINE_MS }), LOAD);
    for (const [rank, { stage, bytes }] of (await loadedRanks(served.url, empty)).entries()) {
      const result = benchResult({
        name: `planned memory of rank ${rank}, ${name}`,
        value: ranks[stage]?.usedBytes ?? NaN,
        unit: 'bytes',
        peer: 'Pss less an empty rank',
        peerValue: bytes,
      });
      progress(`${result.name}: ${result.value} and ${result.peerValue}, ratio ${result.ratio}`);
      results.push(result);
    }
  }
  return results;
}
