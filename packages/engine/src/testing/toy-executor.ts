import type { LogitRules, StepInput, StepOutputRow, StepRow } from '@skein/native';
import { ExecutorLostError } from '../errors.ts';
import type { Executor } from '../executor.ts';
import { toyNext, toyRow } from './toy-model.ts';

export interface ToyLimits {
  readonly maxTokens: number;
  readonly maxSeqs: number;
  readonly maxRows: number;
}

interface PendingStep {
  readonly rows: StepOutputRow[];
  readonly resolve: (rows: readonly StepOutputRow[]) => void;
  readonly reject: (error: Error) => void;
}

/** An executor that keeps tokens in simulated KV blocks and reads every context back through the block table, so that a wrong
 *  table, a stale block or a missing feedback id changes what it answers. Steps are computed in call order, at once; their
 *  results arrive when the test settles them. */
export class ToyExecutor implements Executor {
  readonly maxStepsInFlight: number;
  readonly numStages: number;
  readonly numBlocks: number;
  readonly blockSize: number;
  readonly maxModelLen: number;
  readonly maxLogprobs = 5;
  readonly inputs: StepInput[] = [];
  /** A step with this token in it kills the executor. */
  poison: number | null = null;
  #limits: ToyLimits;
  #lost: Error | null = null;
  #lastStep = -1;
  readonly #cache: Int32Array;
  readonly #pending: PendingStep[] = [];
  /** The first stage's feedback slots, and messages it has not taken yet. */
  readonly #slots = new Map<number, number>();
  /** The last stage's logit rules by slot, with the outputs it has counted. */
  readonly #rules = new Map<number, { readonly rules: LogitRules; readonly outputIds: number[] }>();
  readonly #messages: { readonly step: number; readonly slot: number; readonly tokenId: number }[] = [];

  constructor(options: {
    readonly numStages?: number;
    readonly maxStepsInFlight?: number;
    readonly numBlocks?: number;
    readonly blockSize?: number;
    readonly maxModelLen?: number;
    readonly limits: ToyLimits;
  }) {
    this.numStages = options.numStages ?? 1;
    this.maxStepsInFlight = options.maxStepsInFlight ?? this.numStages + 1;
    this.numBlocks = options.numBlocks ?? 64;
    this.blockSize = options.blockSize ?? 16;
    this.maxModelLen = options.maxModelLen ?? 256;
    this.#limits = options.limits;
    this.#cache = new Int32Array(this.numBlocks * this.blockSize).fill(-1);
  }

  get numPending(): number {
    return this.#pending.length;
  }

  execute(input: StepInput): Promise<readonly StepOutputRow[]> {
    if (this.#lost) return Promise.reject(this.#lost);
    this.inputs.push(input);
    this.#check(input);
    const { promise, resolve, reject } = Promise.withResolvers<readonly StepOutputRow[]>();
    this.#pending.push({ rows: this.#compute(input), resolve, reject });
    if (this.poison !== null && input.sequences.some((s) => s.tokenIds.includes(this.poison ?? -1))) this.lose();
    return promise;
  }

  /** Lets the results of the `count` oldest steps arrive. */
  settle(count = 1): void {
    for (const step of this.#pending.splice(0, count)) step.resolve(step.rows);
  }

  lose(): void {
    this.#lost = new ExecutorLostError('a stage died');
    for (const step of this.#pending.splice(0)) step.reject(this.#lost);
  }

  #check(input: StepInput): void {
    const numTokens = input.sequences.reduce((n, s) => n + s.tokenIds.length, 0);
    expectThat(numTokens > 0 && numTokens <= this.#limits.maxTokens, `${numTokens} tokens in a step`);
    expectThat(input.sequences.length <= this.#limits.maxSeqs, `${input.sequences.length} sequences in a step`);
    expectThat(input.rows.length <= this.#limits.maxRows, `${input.rows.length} rows in a step`);
    expectThat(input.step > this.#lastStep, `step ${input.step} after ${this.#lastStep}`);
    expectThat(input.feedbackStep < input.step, `step ${input.step} waits for ${input.feedbackStep}`);
    expectThat(this.#pending.length < this.maxStepsInFlight, 'too many steps under way');
    const slots = input.rows.flatMap((r) => r.slot ?? []);
    expectThat(
      new Set(slots).size === slots.length && slots.every((s) => s >= 0 && s < this.#limits.maxSeqs),
      `slots ${slots.join()}`,
    );
    this.#lastStep = input.step;
  }

  #compute(input: StepInput): StepOutputRow[] {
    this.#takeMessages(input.feedbackStep);
    const contexts: number[][] = [];
    for (const s of input.sequences) {
      const end = s.numComputedTokens + s.tokenIds.length;
      expectThat(s.blockIds.length * this.blockSize >= end, 'the block table is too short');
      const at = (position: number): number =>
        (s.blockIds[Math.floor(position / this.blockSize)] ?? 0) * this.blockSize + (position % this.blockSize);
      for (const [j, id] of s.tokenIds.entries())
        this.#cache[at(s.numComputedTokens + j)] = id >= 0 ? id : (this.#slots.get(-1 - id) ?? -2);
      for (let end = s.numComputedTokens; end < s.numComputedTokens + s.tokenIds.length; end++) {
        contexts.push(Array.from({ length: end + 1 }, (_, position) => this.#cache[at(position)] ?? -3));
      }
    }
    for (const { slot, rules, outputIds } of input.rules) this.#rules.set(slot, { rules, outputIds: [...outputIds] });
    return input.rows.map((row) => {
      const context = contexts[row.token] ?? [];
      const ruled = this.#ruled(row);
      const tokenId = row.target ?? toyNext(context, row, row.position, ruled);
      ruled?.outputIds.push(tokenId);
      if (row.slot !== null) this.#messages.push({ step: input.step, slot: row.slot, tokenId });
      return toyRow(context, tokenId, row.numLogprobs);
    });
  }

  #ruled(row: StepRow): { readonly rules: LogitRules; readonly outputIds: number[] } | null {
    if (!row.ruled) return null;
    const ruled = this.#rules.get(row.slot ?? -1);
    if (ruled?.outputIds.length === row.position) return ruled;
    throw new Error(
      `toy executor: output ${row.position} of slot ${row.slot}, its rules know ${ruled?.outputIds.length}`,
    );
  }

  #takeMessages(untilStep: number): void {
    while ((this.#messages[0]?.step ?? Infinity) <= untilStep) {
      const message = this.#messages.shift();
      if (message) this.#slots.set(message.slot, message.tokenId);
    }
  }
}

function expectThat(condition: boolean, message: string): void {
  if (!condition) throw new Error(`toy executor: ${message}`);
}
