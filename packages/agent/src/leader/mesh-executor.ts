import { type Executor, ExecutorLostError } from '@skein/engine';
import type { MessageBus } from '@skein/message-bus';
import { packStepInput, type StepInput, type StepOutputRow, unpackStepOutput } from '@skein/native';
import { type StepPlan, stepResultSchema, subjects } from '@skein/protocol';

const RESEND_MS_MIN = 250;
const RESEND_MS_MAX = 2000;
/** Steps under way that stay without any answer for this many step deadlines cannot finish. */
const SILENT_DEADLINES_MAX = 10;
/** Room for all of a plan that is not its input. */
const PLAN_BYTES = 256;

interface StepUnderWay {
  readonly plan: StepPlan;
  readonly step: number;
  readonly numRows: number;
  readonly resolve: (rows: readonly StepOutputRow[]) => void;
  readonly reject: (error: Error) => void;
}

export interface MeshExecutorOptions {
  readonly main: MessageBus;
  readonly direct: MessageBus;
  readonly group: string;
  readonly replica: number;
  readonly epoch: number;
  readonly numStages: number;
  readonly numBlocks: number;
  readonly blockSize: number;
  readonly maxModelLen: number;
  readonly maxLogprobs: number;
  readonly stepDeadlineMs: number;
  /** The group cannot go on; called once. */
  readonly onLost: (error: Error) => void;
}

/** Runs steps on all ranks of a replica that is formed. A plan is published on the broker; while the broker is away, and for a plan
 *  that stays without an answer, the same frame goes over the direct link. Ranks take whichever comes first. */
export class MeshExecutor implements Executor {
  readonly maxStepsInFlight: number;
  readonly numStages: number;
  readonly numBlocks: number;
  readonly blockSize: number;
  readonly maxModelLen: number;
  readonly maxLogprobs: number;
  readonly #options: MeshExecutorOptions;
  readonly #underWay = new Map<number, StepUnderWay>();
  readonly #stop: (() => void)[] = [];
  #nextSequence = 0;
  #lastFinishedStep = -1;
  #resendMs = RESEND_MS_MIN;
  #resendTimer: NodeJS.Timeout | null = null;
  #heardAtMs = 0;
  #lost: Error | null = null;

  constructor(options: MeshExecutorOptions) {
    this.#options = options;
    this.numStages = options.numStages;
    this.maxStepsInFlight = options.numStages + 1;
    this.numBlocks = options.numBlocks;
    this.blockSize = options.blockSize;
    this.maxModelLen = options.maxModelLen;
    this.maxLogprobs = options.maxLogprobs;
    const { main, direct, group, replica } = options;
    for (const bus of new Set([main, direct])) {
      const subscription = bus.subscribe(subjects.results(group, replica), ({ data }) => this.#take(data));
      this.#stop.push(() => subscription.close());
    }
    this.#stop.push(main.onConnectionChange((connected) => !connected && this.#resend()));
  }

  execute(input: StepInput): Promise<readonly StepOutputRow[]> {
    if (this.#lost) return Promise.reject(this.#lost);
    const { epoch, stepDeadlineMs, main, direct, group, replica } = this.#options;
    // The first stage reads sampled ids up to this step. Naming one that is known to be done costs no wait and keeps the
    // channel of ids from filling when no request depends on them.
    const feedbackStep = this.numStages > 1 ? Math.max(input.feedbackStep, this.#lastFinishedStep) : input.feedbackStep;
    const words = packStepInput({ ...input, feedbackStep });
    const bytes = words.byteLength + PLAN_BYTES;
    if (bytes > direct.maxPayloadBytes) {
      const error = new ExecutorLostError(
        `the plan of step ${input.step} has ${bytes} bytes, the direct link takes ${direct.maxPayloadBytes}; lower --max-num-seqs`,
      );
      this.lose(error);
      return Promise.reject(error);
    }
    if (this.#underWay.size === 0) this.#heardAtMs = performance.now();
    const plan = { epoch, step: this.#nextSequence++, deadlineMs: stepDeadlineMs, input: new Uint8Array(words.buffer) };
    const { promise, resolve, reject } = Promise.withResolvers<readonly StepOutputRow[]>();
    this.#underWay.set(plan.step, { plan, step: input.step, numRows: input.rows.length, resolve, reject });
    const goesByBroker = main.connected && bytes <= main.maxPayloadBytes;
    (goesByBroker ? main : direct).publish(subjects.plans(group, replica), plan);
    this.#resendTimer ??= setTimeout(() => this.#resendOverdue(), this.#resendMs);
    return promise;
  }

  /** Rejects all steps under way and every later one. */
  lose(reason: Error): void {
    if (this.#lost) return;
    this.#lost = reason instanceof ExecutorLostError ? reason : new ExecutorLostError(reason.message);
    for (const stop of this.#stop) stop();
    if (this.#resendTimer) clearTimeout(this.#resendTimer);
    for (const { reject } of this.#underWay.values()) reject(this.#lost);
    this.#underWay.clear();
    this.#options.onLost(this.#lost);
  }

  #take(data: unknown): void {
    const parsed = stepResultSchema.safeParse(data);
    if (!parsed.success || parsed.data.epoch !== this.#options.epoch || this.#lost) return;
    const { step: sequence, output, error, stage } = parsed.data;
    const step = this.#underWay.get(sequence);
    if (!step) return;
    if (error || !output)
      return this.lose(
        new ExecutorLostError(`stage ${stage} failed step ${step.step}: ${error?.message ?? 'no output'}`),
      );
    const bytes = new Uint8Array(output);
    const words = new Int32Array(bytes.buffer, 0, bytes.byteLength >> 2);
    if (!isOutputOf(words, step.numRows))
      return this.lose(
        new ExecutorLostError(
          `stage ${stage} answered step ${step.step} with ${words.length} words that are no output of ${step.numRows} rows`,
        ),
      );
    this.#underWay.delete(sequence);
    this.#heardAtMs = performance.now();
    this.#lastFinishedStep = Math.max(this.#lastFinishedStep, step.step);
    this.#rearm();
    step.resolve(unpackStepOutput(words));
  }

  #rearm(): void {
    if (this.#resendTimer) clearTimeout(this.#resendTimer);
    this.#resendMs = RESEND_MS_MIN;
    this.#resendTimer = this.#underWay.size > 0 ? setTimeout(() => this.#resendOverdue(), this.#resendMs) : null;
  }

  /** No step has finished for a while: a long step, or a broker that takes messages and delivers none. */
  #resendOverdue(): void {
    const silentMs = performance.now() - this.#heardAtMs;
    if (silentMs > SILENT_DEADLINES_MAX * this.#options.stepDeadlineMs) {
      return this.lose(new ExecutorLostError(`no stage has answered for ${Math.round(silentMs / 1000)} s`));
    }
    this.#resend();
    this.#resendMs = Math.min(RESEND_MS_MAX, this.#resendMs * 2);
    this.#resendTimer = this.#underWay.size > 0 ? setTimeout(() => this.#resendOverdue(), this.#resendMs) : null;
  }

  #resend(): void {
    const { direct, group, replica } = this.#options;
    for (const { plan } of this.#underWay.values()) direct.publish(subjects.plans(group, replica), plan);
  }
}

/** The layout's own arithmetic (native/lib/step-io.ts), so that no count from a peer sizes anything. */
function isOutputOf(words: Int32Array, numRows: number): boolean {
  const [rows = 0, maxLogprobs = 0] = words;
  return rows === numRows && maxLogprobs >= 0 && (rows === 0 || words.length === 2 + rows * (3 + 2 * maxLogprobs));
}
