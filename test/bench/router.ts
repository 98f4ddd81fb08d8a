import { topology, up } from '../support/cluster.ts';
import { benchResult, type BenchResult } from './bench-result.ts';
import { HttpLoad } from './http-load.ts';
import { median, percentile } from './statistics.ts';

const REQUESTS = 200;
const WARM_UP = 20;
const BODY = {
  messages: [{ role: 'user', content: 'What is the capital of France?' }],
  max_tokens: 1,
  temperature: 0,
};

/** What the router adds to a request of one token: through it and straight to the leader, in turns, one at a time. */
export async function router(progress: (line: string) => void): Promise<BenchResult[]> {
  progress('starting a cluster of one group');
  await using cluster = await up(['--pp', '1', '--threads', '1', '--log-level', 'warn']);
  const [group] = (await topology(cluster.url)).groups;
  if (!group) throw new Error('the router names no group');
  await using load = new HttpLoad();
  const routed: number[] = [];
  const direct: number[] = [];
  for (let n = -WARM_UP; n < REQUESTS; n++) {
    // Whoever goes second finds warmer caches; both take turns at it.
    const order = n % 2 === 0 ? [cluster.url, group.url] : [group.url, cluster.url];
    for (const url of order) {
      const ms = await load.complete(url, BODY);
      if (n >= 0) (url === cluster.url ? routed : direct).push(ms);
    }
  }
  const against = (percent: number): BenchResult =>
    benchResult({
      name: `one-token request through the router p${percent}`,
      unit: 'ms',
      value: percentile(routed, percent),
      peer: 'direct',
      peerValue: percentile(direct, percent),
    });
  const added = median(routed.map((ms, i) => ms - (direct[i] ?? ms)));
  return [
    against(50),
    against(99),
    benchResult({ name: 'added by the router, median of pairs', unit: 'ms', value: added }),
  ];
}
