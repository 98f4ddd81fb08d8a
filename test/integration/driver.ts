import {
  type ExpertLoad,
  feedbackToken,
  GREEDY_ROW,
  type StepInput,
  type StepRow,
  type StepSequence,
} from '@skein/native';
import { BLOCK_SIZE, type FixtureCase, NUM_BLOCKS } from './fixture.ts';
import type { Pipeline } from '../support/pipeline.ts';

/** What a way of computing found for one prompt. */
export interface Generation {
  readonly tokenIds: number[];
  /** By position: those the fixture has, and every sampled one. */
  readonly logits: Map<number, Float32Array>;
}

/** The case with its greedy continuation as part of the prompt: what is computed then is the same whatever is sampled. */
export function continued(wanted: FixtureCase): FixtureCase {
  return {
    ...wanted,
    promptTokenIds: [...wanted.promptTokenIds, ...wanted.greedyTokenIds],
    greedyTokenIds: [],
  };
}

/** Tokens of a prompt to compute in the next step. */
export type Chunking = (left: number) => number;

export const whole: Chunking = (left) => left;
export const chunksOf =
  (size: number): Chunking =>
  () =>
    size;

/** Chunks of 1 to 40, from a seed. */
export function randomChunks(seed: number): Chunking {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 1 + ((state >>> 8) % 40);
  };
}

interface Sequence {
  readonly slot: number;
  readonly wanted: FixtureCase;
  readonly found: Generation;
  blockIds: readonly number[];
  numComputed: number;
  /** Count of generated tokens at which it loses its blocks; Infinity for never. */
  preemptAt: number;
}

export interface GenerateOptions {
  /** Whether decode steps take their token from the feedback slot. */
  readonly feedback?: boolean;
  /** Whether each sequence loses its blocks once, on its way, and starts over from what it knows. */
  readonly preempted?: boolean;
}

/** Runs sequences in one pipeline, one step after another; steps count on over all calls. */
export class Driver {
  readonly #pipeline: Pipeline;
  readonly #vocabSize: number;
  #step = 0;
  #numTokens = 0;

  constructor(pipeline: Pipeline, vocabSize: number) {
    this.#pipeline = pipeline;
    this.#vocabSize = vocabSize;
  }

  /** Tokens that were computed, and what of them the experts of each rank have. */
  get expertWork(): { readonly numTokens: number; readonly loads: ExpertLoad[][] } {
    return { numTokens: this.#numTokens, loads: this.#pipeline.expertLoads() };
  }

  /** Prompts in chunks and then greedy tokens up to the fixture's count, all sequences of `cases` in each step. */
  async generate(
    cases: readonly FixtureCase[],
    chunking: Chunking,
    { feedback = false, preempted = false }: GenerateOptions = {},
  ): Promise<Generation[]> {
    const sequences = startSequences(cases);
    if (preempted) for (const s of sequences) s.preemptAt = 3 + ((s.slot * 7) % 50);
    for (;;) {
      const open = sequences.filter((s) => s.numComputed < lengthMax(s));
      if (open.length === 0) return sequences.map((s) => s.found);
      for (const s of open) if (s.found.tokenIds.length >= s.preemptAt) preempt(s);
      await this.#computeStep(
        open.map((s) => ({ s, count: nextCount(s, chunking) })),
        feedback,
      );
    }
  }

  /** Whole prompts, then decode steps handed over many at a time, before the first has finished: ids reach the next step through the
   *  feedback slots alone. Sequences take turns in `groups` groups, as pipeline stages keep several batches in flight. */
  async generateAhead(cases: readonly FixtureCase[], groups: number): Promise<number[][]> {
    const sequences = startSequences(cases);
    const steps = cases[0]?.greedyTokenIds.length ?? 0;
    const turns = Array.from({ length: groups }, (_, g) => sequences.filter((_, i) => i % groups === g));
    const first = this.#step;
    const running: Promise<void>[] = [];
    // A program queues 64 steps at most.
    const aheadMax = 48;
    for (let n = 0; n < steps; n++) {
      for (const turn of turns) {
        const feedbackStep = n === 0 ? first - 1 : this.#step - groups;
        const parts = turn.map((s) => part(s, n === 0 ? s.wanted.promptTokenIds : [feedbackToken(s.slot)]));
        const input = stepInput(
          this.#step++,
          feedbackStep,
          parts.map((p) => p.sequence),
          [...lastRows(parts)],
        );
        for (const [i, s] of turn.entries()) s.numComputed += parts[i]?.sequence.tokenIds.length ?? 0;
        await running.at(-aheadMax);
        running.push(
          this.#pipeline.run(input).then((ids) => turn.forEach((s, i) => s.found.tokenIds.push(ids[i] ?? -1))),
        );
      }
    }
    await Promise.all(running);
    return sequences.map((s) => s.found.tokenIds);
  }

  async #computeStep(
    work: readonly { readonly s: Sequence; readonly count: number }[],
    feedback: boolean,
  ): Promise<void> {
    const rows: StepRow[] = [];
    const rowOwners: { s: Sequence; position: number; isLast: boolean }[] = [];
    let token = 0;
    const sequences = work.map(({ s, count }) => {
      const known = [...s.wanted.promptTokenIds, ...s.found.tokenIds];
      for (let position = s.numComputed; position < s.numComputed + count; position++, token++) {
        const isLast = position === known.length - 1;
        if (!isLast && !s.wanted.logits.has(position)) continue;
        rows.push(
          isLast
            ? sampleRow(token, s.slot, position)
            : { ...sampleRow(token, null, position), target: known[position + 1] ?? 0 },
        );
        rowOwners.push({ s, position, isLast });
      }
      const isDecode = s.numComputed >= s.wanted.promptTokenIds.length && numLeft(s) === 1;
      return part(s, feedback && isDecode ? [feedbackToken(s.slot)] : known.slice(s.numComputed, s.numComputed + count))
        .sequence;
    });
    const step = this.#step++;
    const ids = await this.#pipeline.run(stepInput(step, step - 1, sequences, rows));
    this.#numTokens += token;
    // A step without rows leaves the logits of an earlier one.
    const logits = rows.length > 0 ? this.#pipeline.lastLogits() : new Float32Array();
    if (logits.length !== rows.length * this.#vocabSize)
      throw new Error(`${logits.length} logits for ${rows.length} rows`);
    for (const { s, count } of work) s.numComputed += count;
    for (const [r, { s, position, isLast }] of rowOwners.entries()) {
      s.found.logits.set(position, logits.slice(r * this.#vocabSize, (r + 1) * this.#vocabSize));
      if (isLast && s.found.tokenIds.length < s.wanted.greedyTokenIds.length) s.found.tokenIds.push(ids[r] ?? -1);
    }
  }
}

/** One position past the last greedy id's own: the fixture has the logits there too. */
function lengthMax(s: Sequence): number {
  return s.wanted.promptTokenIds.length + s.wanted.greedyTokenIds.length;
}

/** Tokens that are known and not computed; 1 when decoding. */
function numLeft(s: Sequence): number {
  return s.wanted.promptTokenIds.length + s.found.tokenIds.length - s.numComputed;
}

function nextCount(s: Sequence, chunking: Chunking): number {
  const left = numLeft(s);
  return left > 1 ? Math.min(left, chunking(left)) : 1;
}

/** Its blocks come back in another order, so that nothing of what they held is where it was. */
function preempt(s: Sequence): void {
  s.preemptAt = Infinity;
  s.numComputed = 0;
  s.blockIds = s.blockIds.toReversed();
}

/** Blocks are dealt out from a shuffled pool, so that no sequence has neighbouring ones. */
function startSequences(cases: readonly FixtureCase[]): Sequence[] {
  const pool = Array.from({ length: NUM_BLOCKS }, (_, i) => (i * 37 + 11) % NUM_BLOCKS);
  return cases.map((wanted, slot) => {
    const numBlocks = Math.ceil((wanted.promptTokenIds.length + wanted.greedyTokenIds.length) / BLOCK_SIZE);
    return {
      slot,
      wanted,
      blockIds: pool.splice(0, numBlocks),
      found: { tokenIds: [], logits: new Map() },
      numComputed: 0,
      preemptAt: Infinity,
    };
  });
}

function part(s: Sequence, tokenIds: readonly number[]): { readonly s: Sequence; readonly sequence: StepSequence } {
  return { s, sequence: { tokenIds, numComputedTokens: s.numComputed, blockIds: s.blockIds } };
}

function* lastRows(parts: readonly { readonly s: Sequence; readonly sequence: StepSequence }[]): Generator<StepRow> {
  let token = -1;
  for (const { s, sequence } of parts) {
    token += sequence.tokenIds.length;
    yield sampleRow(token, s.slot, s.numComputed + sequence.tokenIds.length - 1);
  }
}

function sampleRow(token: number, slot: number | null, position: number): StepRow {
  return { ...GREEDY_ROW, token, slot, position };
}

function stepInput(
  step: number,
  feedbackStep: number,
  sequences: readonly StepSequence[],
  rows: readonly StepRow[],
): StepInput {
  return { step, feedbackStep, sequences, rows, maxLogprobs: 0, rules: [] };
}
