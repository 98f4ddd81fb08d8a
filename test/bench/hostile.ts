import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { serve } from '../support/cluster.ts';
import { benchResult, type BenchResult } from './bench-result.ts';
import { HttpLoad } from './http-load.ts';
import { percentile } from './statistics.ts';

const ROUNDS = 5;
const STREAMS = 50;
const MAX_TOKENS = 150;

/** What 50 streams notice of a client that sends 30 MB prompts and fields out of their bounds without a pause. */
export async function hostile(progress: (line: string) => void): Promise<BenchResult[]> {
  await using server = await serve(['--threads', '1', '--log-level', 'warn']);
  await using load = new HttpLoad();
  const gapsMs = async (round: string): Promise<readonly number[]> => {
    const streams = Array.from({ length: STREAMS }, (_, i) => load.stream(server.url, question(`${round}-${i}`)));
    return (await Promise.all(streams)).flatMap((timing) => timing.tokenGapsMs);
  };
  await gapsMs('warm-up');
  const [quiet, beside]: [number[], number[]] = [[], []];
  for (let round = 1; round <= ROUNDS; round++) {
    progress(`round ${round} of ${ROUNDS}`);
    quiet.push(...(await gapsMs(`quiet-${round}`)));
    const client = spawn(process.execPath, [fileURLToPath(import.meta.resolve('./hostile-client.ts')), server.url], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const ended = new Promise<number | null>((resolve) => client.once('exit', resolve));
    try {
      beside.push(...(await gapsMs(`beside-${round}`)));
      if (client.exitCode !== null) throw new Error(`the hostile client ended with ${client.exitCode}`);
    } finally {
      client.kill('SIGKILL');
      await ended;
    }
  }
  return [50, 99].map((percent) =>
    benchResult({
      name: `${STREAMS} streams beside a hostile client, inter-token p${percent}`,
      unit: 'ms',
      value: percentile(beside, percent),
      peer: 'quiet',
      peerValue: percentile(quiet, percent),
      ...(percent === 99 ? { goal: 2 } : {}),
    }),
  );
}

function question(id: string): object {
  return {
    messages: [{ role: 'user', content: `${id}: Count from 1 to 100.` }],
    max_tokens: MAX_TOKENS,
    temperature: 0,
    ignore_eos: true,
    skip_special_tokens: false,
  };
}
