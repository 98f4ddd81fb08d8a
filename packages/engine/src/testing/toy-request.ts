import {
  type GenerateEvent,
  type GenerateRequest,
  greedySampling,
  type LogitRules,
  type SamplingParams,
} from '../generate.ts';
import type { Random } from './random.ts';
import { TOY_VOCAB } from './toy-model.ts';

export const greedy: SamplingParams = { ...greedySampling, seed: 1n, maxTokens: 8 };

export function toyRequest(
  requestId: string,
  numPromptTokens: number,
  sampling: Partial<SamplingParams> = {},
): GenerateRequest {
  const first = Buffer.from(requestId).reduce((sum, byte) => sum + byte, 0);
  const promptTokenIds = Array.from({ length: numPromptTokens }, (_, i) => (i * 7 + first) % TOY_VOCAB);
  return { requestId, promptTokenIds, sampling: { ...greedy, ...sampling }, client: 'test' };
}

export function randomRequest(
  requestId: string,
  random: Random,
  sizes: { readonly maxPrompt: number; readonly maxTokens: number; readonly sharedPrefix?: readonly number[] },
): GenerateRequest {
  const eos = random.int(0, TOY_VOCAB - 1);
  const sampling: SamplingParams = {
    temperature: random.chance(0.5) ? 0 : 0.7,
    topK: random.int(0, 5),
    topP: random.chance(0.5) ? 1 : 0.9,
    minP: 0,
    seed: BigInt(random.int(0, 2 ** 31)) << 20n,
    choice: random.int(0, 2),
    maxTokens: random.int(1, sizes.maxTokens),
    stopTokenIds: random.chance(0.5) ? [eos, random.int(0, TOY_VOCAB - 1)] : [],
    eosTokenIds: [eos],
    numLogprobs: random.chance(0.3) ? random.int(0, 3) : null,
    numPromptLogprobs: random.chance(0.3) ? random.int(0, 3) : null,
    logitRules: random.chance(0.5) ? randomRules(random) : null,
    repetitionDetection: random.chance(0.2) ? { minPatternSize: 1, maxPatternSize: 2, minCount: 2 } : null,
  };
  const own = Array.from({ length: random.int(1, sizes.maxPrompt) }, () => random.int(0, TOY_VOCAB - 1));
  const shared = sizes.sharedPrefix ?? [];
  const promptTokenIds = [...shared.slice(0, random.int(0, shared.length)), ...own].slice(0, sizes.maxPrompt);
  const cacheSalt = random.chance(0.2) ? 'salt' : null;
  return { requestId, promptTokenIds, sampling, client: `tenant-${random.int(0, 1)}`, cacheSalt };
}

function randomRules(random: Random): LogitRules {
  return {
    presencePenalty: random.int(-2, 2),
    frequencyPenalty: random.int(-2, 2),
    repetitionPenalty: random.chance(0.5) ? 1 : 1.2,
    minTokens: random.int(0, 5),
    stopIds: [random.int(0, TOY_VOCAB - 1)],
    biases: [{ tokenId: random.int(0, TOY_VOCAB - 1), value: random.int(-100, 100) }],
    allowedIds: random.chance(0.5) ? [] : [1, 5, 9],
    badWords: [[random.int(0, TOY_VOCAB - 1), 3]],
    logprobIds: [random.int(0, TOY_VOCAB - 1)],
  };
}

/** Everything a stream brought, and how it ended. */
export interface Collected {
  readonly events: GenerateEvent[];
  error: unknown;
  done: boolean;
}

/** Reads `stream` to its end in the background. */
export function collect(stream: AsyncIterable<GenerateEvent>): Collected {
  const collected: Collected = { events: [], error: null, done: false };
  const read = async (): Promise<void> => {
    for await (const event of stream) collected.events.push(event);
  };
  read().then(
    () => {
      collected.done = true;
    },
    (error: unknown) => {
      collected.error = error;
      collected.done = true;
    },
  );
  return collected;
}

/** One turn of the event loop: everything that is ready happens. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
