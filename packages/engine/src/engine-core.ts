import type { StepOutputRow } from '@skein/native';
import type { Clock } from './clock.ts';
import { ExecutorLostError } from './errors.ts';
import type { Executor } from './executor.ts';
import type { RequestUpdate, Scheduler } from './scheduler.ts';
import type { SchedulerOutput } from './scheduler-output.ts';
import { StepPace } from './step-pace.ts';

/** A plan reaches its stage in less than this by far, so behind a step that takes longer none needs to lie in wait; and what
 *  lies in wait can no longer be withdrawn when its clients leave. */
const LONG_STEP_MS = 50;

/** A step under way, and what came of it once it settled. */
interface StepUnderWay {
  readonly output: SchedulerOutput;
  readonly plannedAtMs: number;
  settledAtMs: number;
  rows: readonly StepOutputRow[] | null;
  error: unknown;
}

export interface CoreProgress {
  /** Oldest first. */
  readonly finished: readonly SchedulerOutput[];
  readonly updates: readonly RequestUpdate[];
  readonly planned: readonly SchedulerOutput[];
  /** Why the executor is lost; null while it is not. */
  readonly lost: Error | null;
}

/** One scheduler on one executor. Synchronous: `step` takes what has settled and plans what can be planned; the caller
 *  decides when. Discard it with its executor. */
export class EngineCore {
  readonly #scheduler: Scheduler;
  readonly #executor: Executor;
  readonly #onSettled: () => void;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #pace: StepPace = new StepPace();
  #lastSettledAtMs = 0;
  /** In plan order, at most `executor.maxStepsInFlight`. */
  readonly #underWay: StepUnderWay[] = [];

  /** `onSettled` is called when a step has settled, so that `step` has something to take. */
  constructor(scheduler: Scheduler, executor: Executor, clock: Pick<Clock, 'now'>, onSettled: () => void) {
    this.#scheduler = scheduler;
    this.#executor = executor;
    this.#clock = clock;
    this.#onSettled = onSettled;
  }

  get stepsUnderWay(): readonly SchedulerOutput[] {
    return this.#underWay.map((s) => s.output);
  }

  step(): CoreProgress {
    const { steps, lost } = this.#takeSettled();
    const updates = steps.flatMap((s) => this.#scheduler.update(s.output, s.rows ?? []));
    const planned = lost ? [] : this.#planAhead();
    for (const output of planned) this.#dispatch(output);
    return { finished: steps.map((s) => s.output), updates, planned, lost };
  }

  /** Results count in plan order, whatever order they arrive in: a later step stands on the earlier ones. */
  #takeSettled(): { readonly steps: StepUnderWay[]; readonly lost: Error | null } {
    const steps: StepUnderWay[] = [];
    for (let oldest = this.#underWay[0]; oldest?.rows; oldest = this.#underWay[0]) {
      steps.push(oldest);
      this.#underWay.shift();
      this.#pace.finished(oldest.output, oldest.settledAtMs - Math.max(oldest.plannedAtMs, this.#lastSettledAtMs));
      this.#lastSettledAtMs = oldest.settledAtMs;
    }
    return { steps, lost: asLost(this.#underWay[0]?.error) };
  }

  #planAhead(): SchedulerOutput[] {
    const { numStages, maxStepsInFlight } = this.#executor;
    const planned: SchedulerOutput[] = [];
    for (;;) {
      const numUnderWay = this.#underWay.length + planned.length;
      if (numUnderWay >= maxStepsInFlight) break;
      const last = planned.at(-1) ?? this.#underWay.at(-1)?.output;
      if (last && numUnderWay >= numStages && this.#pace.predictMs(last) > LONG_STEP_MS) break;
      const output = this.#scheduler.schedule(numUnderWay);
      if (!output) break;
      planned.push(output);
    }
    return planned;
  }

  #dispatch(output: SchedulerOutput): void {
    const step: StepUnderWay = { output, plannedAtMs: this.#clock.now(), settledAtMs: 0, rows: null, error: null };
    this.#underWay.push(step);
    execute(this.#executor, output).then(
      (rows) => {
        step.rows = rows;
        step.settledAtMs = this.#clock.now();
        this.#onSettled();
      },
      (error: unknown) => {
        step.error = error ?? new ExecutorLostError(`step ${output.step} failed without a reason`);
        this.#onSettled();
      },
    );
  }
}

async function execute(executor: Executor, output: SchedulerOutput): Promise<readonly StepOutputRow[]> {
  const rows = await executor.execute(output.input);
  if (rows.length === output.rows.length) return rows;
  throw new ExecutorLostError(`step ${output.step} asked for ${output.rows.length} rows and got ${rows.length}`);
}

function asLost(error: unknown): Error | null {
  if (error === null || error === undefined) return null;
  return error instanceof Error ? error : new ExecutorLostError('the executor failed', { cause: error });
}
