import type { StepInput } from '@skein/native';
import type { GeneratedToken } from '../../generate.ts';
import type { SchedulerOutput } from '../../scheduler-output.ts';
import type { SimulatedCapacity } from './scenario.ts';
import { contentOf, fold, nextToken, type Truth } from './truth.ts';
import { hold } from './violation.ts';

const NO_LOGPROBS: GeneratedToken['top'] = [];

/** The ranks of an executor as the scheduler must see them: KV slots that hold what was last written there, feedback slots
 *  that hold what was sampled, steps in order. Every row reads its whole context back through the block table. */
export class SimulatedRanks {
  readonly #capacity: SimulatedCapacity;
  readonly #vocab: number;
  readonly #cache: Int32Array;
  readonly #feedback: Int32Array;
  /** Sampled ids on their way to the first stage. */
  readonly #messages: { readonly step: number; readonly slot: number; readonly token: number }[] = [];
  #lastStep = -1;

  constructor(capacity: SimulatedCapacity, maxNumSeqs: number, vocab: number) {
    this.#capacity = capacity;
    this.#vocab = vocab;
    this.#cache = new Int32Array(capacity.numBlocks * capacity.blockSize).fill(-1);
    this.#feedback = new Int32Array(maxNumSeqs).fill(-1);
  }

  /** Computes a step. Its samples join the truths of their requests. */
  execute({ input, rows, scheduled }: SchedulerOutput, truthOf: (requestId: string) => Truth): GeneratedToken[] {
    hold(input.step > this.#lastStep, () => `step ${input.step} comes after step ${this.#lastStep}`);
    this.#lastStep = input.step;
    this.#takeMessages(input.feedbackStep);
    const firstTokens = this.#write(
      input,
      scheduled.map(({ request }) => truthOf(request.id).tag),
    );
    let sequence = 0;
    return rows.map(({ request, kind }, i) => {
      const row = input.rows[i];
      hold(row !== undefined, () => `row ${i} of step ${input.step} has no input`);
      while ((firstTokens[sequence + 1] ?? Infinity) <= row.token) sequence += 1;
      hold(scheduled[sequence]?.request === request, () => `row ${i} of ${request.id} is in another's sequence`);
      const truth = truthOf(request.id);
      const computed = input.sequences[sequence]?.numComputedTokens ?? 0;
      const position = computed + row.token - (firstTokens[sequence] ?? 0);
      const context = this.#read(input.sequences[sequence]?.blockIds ?? [], position);
      hold(context === truth.hashes[position], () => `${request.id} reads a foreign or stale context at ${position}`);
      if (kind === 'promptLogprob') return generated(row.target ?? -1);
      hold(position === truth.tokens.length - 1, () => `${request.id} samples after ${position}, out of turn`);
      const token = nextToken(context, row.position, this.#vocab);
      hold(row.position === truth.tokens.length - request.numPromptTokens, () => `${request.id} has the wrong noise`);
      truth.append(token);
      if (row.slot !== null) this.#messages.push({ step: input.step, slot: row.slot, token });
      return generated(token);
    });
  }

  /** @returns the row of each sequence's first token. */
  #write({ sequences }: StepInput, tags: readonly number[]): number[] {
    const firstTokens: number[] = [];
    let numTokens = 0;
    for (const [i, { tokenIds, numComputedTokens, blockIds }] of sequences.entries()) {
      firstTokens.push(numTokens);
      numTokens += tokenIds.length;
      for (const [j, id] of tokenIds.entries()) {
        const token = id >= 0 ? id : (this.#feedback[-1 - id] ?? -1);
        this.#cache[this.#slot(blockIds, numComputedTokens + j)] = contentOf(token, tags[i] ?? 0);
      }
    }
    return firstTokens;
  }

  #read(blockIds: readonly number[], position: number): number {
    let hash = 0;
    for (let p = 0; p <= position; p++) hash = fold(hash, this.#cache[this.#slot(blockIds, p)] ?? -1);
    return hash;
  }

  #slot(blockIds: readonly number[], position: number): number {
    const { blockSize } = this.#capacity;
    const block = blockIds[Math.floor(position / blockSize)];
    hold(block !== undefined, () => `position ${position} is beyond a block table of ${blockIds.length}`);
    return block * blockSize + (position % blockSize);
  }

  #takeMessages(untilStep: number): void {
    while ((this.#messages[0]?.step ?? Infinity) <= untilStep) {
      const message = this.#messages.shift();
      if (message) this.#feedback[message.slot] = message.token;
    }
  }
}

function generated(tokenId: number): GeneratedToken {
  return { tokenId, logprob: null, rank: null, top: NO_LOGPROBS };
}
