import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { client, ROOT, TINY_CHAT, up } from '../support/cluster.ts';
import { runFullLoad } from '../support/full-load.ts';
import { EmptyRank, loadedRanks } from '../support/rank-memory.ts';

const SKEIN = `${ROOT}packages/cli/bin/skein`;
const STREAMS = 16;
const BLOCKS = STREAMS * 88;
const LIMITS = ['--max-num-seqs', String(STREAMS), '--num-gpu-blocks-override', String(BLOCKS)];
const LOAD = { model: 'tiny-chat', streams: STREAMS, promptTokens: 1400, answerTokens: 8, totalTokens: BLOCKS * 16 };

interface Planned {
  readonly ranks: readonly { readonly usedBytes: number }[];
  readonly commands: { readonly up: readonly string[] };
}

function plan(args: readonly string[]): Planned {
  const { status, stdout, stderr } = spawnSync(SKEIN, ['plan', TINY_CHAT, '--cpu', ...args, '--json'], {
    encoding: 'utf8',
  });
  expect(status, stderr).toBe(0);
  return JSON.parse(stdout) as Planned;
}

test.each([
  ['one rank', ['--tp', '1', '--pp', '1']],
  ['two stages that share a layer', ['--tp', '1', '--pp-layer-partition', '3.5,2.5']],
  ['two tensor ranks', ['--tp', '2', '--pp', '1']],
])('%s: what a plan says of its memory is within 10 % of what it has when all of it was used', async (_, degrees) => {
  await using empty = await EmptyRank.start();
  const { ranks: planned, commands } = plan([...degrees, ...LIMITS]);
  const [, , ...args] = commands.up;
  await using served = await up([...args, '--threads', '1']);
  await runFullLoad(client(served.url), LOAD);
  const ranks = await loadedRanks(served.url, empty);
  expect(new Set(ranks.map(({ stage }) => stage))).toEqual(new Set(planned.keys()));
  for (const { stage, bytes } of ranks) {
    const usedBytes = planned[stage]?.usedBytes ?? NaN;
    expect(usedBytes / bytes, `stage ${stage}: ${usedBytes} planned, ${bytes} measured`).toBeGreaterThan(0.9);
    expect(usedBytes / bytes, `stage ${stage}: ${usedBytes} planned, ${bytes} measured`).toBeLessThan(1.1);
  }
});
