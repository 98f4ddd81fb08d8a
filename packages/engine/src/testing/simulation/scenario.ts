import { type EngineConfig, engineConfig } from '../../engine-config.ts';
import type { SchedulerCapacity } from '../../request-limits.ts';
import type { Random } from '../random.ts';

export interface SimulatedCapacity extends SchedulerCapacity {
  readonly maxStepsInFlight: number;
}

/** One world: how the engine is set up, and how often things happen in a turn of its loop. */
export interface Scenario {
  readonly config: EngineConfig;
  /** Block hashes have this many bits: few, so that they collide. */
  readonly hashBits: number;
  readonly maxModelLen: number;
  readonly arrivalRate: number;
  readonly abortRate: number;
  readonly lossRate: number;
  /** How likely the oldest step under way is to finish in a turn. */
  readonly settleRate: number;
  /** How likely a stall is to begin; in one nothing finishes. */
  readonly stallRate: number;
  readonly numTenants: number;
  /** Token ids are below this: few, so that texts coincide. */
  readonly vocab: number;
  /** Text that many prompts begin with. */
  readonly sharedText: readonly number[];
  readonly numTextsKept: number;
}

export function randomScenario(random: Random): Scenario {
  const maxNumSeqs = random.int(2, 6);
  const config = engineConfig({
    maxNumSeqs,
    maxNumBatchedTokens: maxNumSeqs + random.int(0, 24),
    maxNumRows: maxNumSeqs + random.int(0, 6),
    maxWaiting: random.int(4, 12),
    enablePrefixCaching: random.chance(0.9),
    schedulingPolicy: random.chance(0.4) ? 'priority' : 'fcfs',
  });
  const vocab = random.chance(0.5) ? 2 : 50;
  const maxModelLen = random.int(16, 56);
  return {
    config,
    hashBits: [4, 7, 20, 32][random.int(0, 3)] ?? 32,
    maxModelLen,
    arrivalRate: 0.05 + random.next() * 0.5,
    abortRate: random.chance(0.5) ? 0.02 : 0,
    lossRate: random.chance(0.3) ? 0.01 : 0,
    settleRate: 0.4 + random.next() * 0.6,
    stallRate: random.chance(0.3) ? 0.02 : 0,
    numTenants: random.chance(0.5) ? 1 : random.int(2, 3),
    vocab,
    sharedText: Array.from({ length: random.int(0, maxModelLen) }, () => random.int(0, vocab - 1)),
    numTextsKept: 4,
  };
}

/** A new executor: after a loss the next one may be of another size. The pool is tiny, so that it is nearly always short. */
export function randomCapacity(random: Random, scenario: Scenario): SimulatedCapacity {
  const numStages = random.chance(0.5) ? 1 : random.int(2, 4);
  const blockSize = random.int(2, 5);
  return {
    numStages,
    blockSize,
    maxStepsInFlight: random.int(1, numStages + 1),
    numBlocks: Math.ceil((scenario.maxModelLen * (0.6 + 1.5 * random.next())) / blockSize),
    maxModelLen: scenario.maxModelLen,
    maxLogprobs: 1,
  };
}
