import type { StepOutputRow } from '@skein/native';
import type { Clock } from './clock.ts';
import { ExecutorLostError } from './errors.ts';
import type { Executor } from './executor.ts';
import type { RequestUpdate, Scheduler } from './scheduler.ts';
import type { SchedulerOutput } from './scheduler-output.ts';
import { StepPace } from './step-pace.ts';

/** A plan is made this long before the first stage comes free: by far enough to reach it in time, and no sooner, since what lies in
 *  wait can no longer be withdrawn when its clients leave, nor joined by those who come. */
const LEAD_MS = 50;

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
  readonly #wake: () => void;
  readonly #clock: Clock;
  readonly #pace: StepPace = new StepPace();
  #lastSettledAtMs = 0;
  #cancelPlanTimer: () => void = () => {};
  /** In plan order, at most `executor.maxStepsInFlight`. */
  readonly #underWay: StepUnderWay[] = [];

  /** `wake` is called when `step` has something to do: a step has settled, or it is time to plan the next. */
  constructor(scheduler: Scheduler, executor: Executor, clock: Clock, wake: () => void) {
    this.#scheduler = scheduler;
    this.#executor = executor;
    this.#clock = clock;
    this.#wake = wake;
  }

  get stepsUnderWay(): readonly SchedulerOutput[] {
    return this.#underWay.map((s) => s.output);
  }

  step(): CoreProgress {
    const { steps, lost } = this.#takeSettled();
    const updates = steps.flatMap((s) => this.#scheduler.update(s.output, s.rows ?? []));
    const planned = lost ? [] : this.#planAhead();
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
      const numUnderWay = this.#underWay.length;
      if (numUnderWay >= maxStepsInFlight) break;
      const earlyMs = numUnderWay >= numStages ? this.#untilFirstStageFreeMs() - LEAD_MS : 0;
      if (earlyMs > 0) {
        this.#cancelPlanTimer();
        this.#cancelPlanTimer = this.#clock.after(earlyMs, this.#wake);
        break;
      }
      const output = this.#scheduler.schedule(numUnderWay);
      if (!output) break;
      planned.push(output);
      this.#dispatch(output);
    }
    return planned;
  }

  /** When stages take alike, the last step to reach the first stage began there as a step left the last stage. */
  #untilFirstStageFreeMs(): number {
    const last = this.#underWay.at(-1);
    if (!last) return 0;
    return Math.max(last.plannedAtMs, this.#lastSettledAtMs) + this.#pace.predictMs(last.output) - this.#clock.now();
  }

  #dispatch(output: SchedulerOutput): void {
    const step: StepUnderWay = { output, plannedAtMs: this.#clock.now(), settledAtMs: 0, rows: null, error: null };
    this.#underWay.push(step);
    execute(this.#executor, output).then(
      (rows) => {
        step.rows = rows;
        step.settledAtMs = this.#clock.now();
        this.#wake();
      },
      (error: unknown) => {
        step.error = error ?? new ExecutorLostError(`step ${output.step} failed without a reason`);
        this.#wake();
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
