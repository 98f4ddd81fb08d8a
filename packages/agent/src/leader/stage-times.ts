import type { Executor } from '@skein/engine';
import { GREEDY_ROW, type StepInput } from '@skein/native';
import type { RankPlace } from '../group-shape.ts';
import type { RankStatus } from '../rank/rank-actor.ts';

const STEPS = 8;
/** Sequences of a step, as many as a batch of a stage often has. */
const SEQUENCES = 8;

export interface TimedStages {
  /** Of one replica, or of all that share their experts. */
  readonly executors: readonly Executor[];
  readonly places: readonly RankPlace[];
  readonly vocabSize: number;
  /** Most sequences of a step. */
  readonly maxSequences: number;
  /** Of every rank, by place. */
  readonly statuses: () => Promise<readonly RankStatus[]>;
}

/** Microseconds that each stage computes for a step: of its slowest rank, the median of some steps that write to the first KV blocks.
 *  Rejects when the executors are lost. */
export async function stageTimes({ executors, places, statuses, ...of }: TimedStages): Promise<number[]> {
  const samples: number[][] = places.map(() => []);
  let before = await statuses();
  for (let step = 0; step <= STEPS; step++) {
    const input = decodes(step, executors, of);
    await Promise.all(executors.map((executor) => executor.execute(input)));
    const after = await statuses();
    for (const [rank, { steps, computeUs }] of after.entries()) {
      const [stepsBefore, usBefore] = [before[rank]?.steps ?? 0, before[rank]?.computeUs ?? 0];
      // The first one touches memory for the first time; a rank may tell of a step late, with the next.
      if (step > 0 && steps > stepsBefore) samples[rank]?.push((computeUs - usBefore) / (steps - stepsBefore));
    }
    before = after;
  }
  const numStages = Math.max(...places.map(({ stage }) => stage)) + 1;
  return Array.from({ length: numStages }, (_, stage) =>
    Math.max(...samples.filter((_own, rank) => places[rank]?.stage === stage).map(median)),
  );
}

/** The first token of some sequences, each in a block of its own, the same in all replicas. Tokens differ, so that not all go to
 *  the same experts. */
function decodes(
  step: number,
  executors: readonly Executor[],
  { vocabSize, maxSequences }: Pick<TimedStages, 'vocabSize' | 'maxSequences'>,
): StepInput {
  const count = Math.min(SEQUENCES, maxSequences, ...executors.map(({ numBlocks }) => numBlocks));
  const indices = Array.from({ length: count }, (_, i) => i);
  return {
    step,
    feedbackStep: -1,
    sequences: indices.map((i) => ({
      tokenIds: [(i * 7919) % vocabSize],
      numComputedTokens: 0,
      blockIds: [i],
    })),
    rows: indices.map((token) => ({ ...GREEDY_ROW, token })),
    maxLogprobs: 0,
    rules: [],
    ...(executors.length > 1 && { sourceTokens: executors.map(() => count) }),
  };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
}
