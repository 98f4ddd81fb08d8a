import type { MessageBus } from '@skein/message-bus';
import { type StepPlan, stepPlanSchema, type StepResult } from '@skein/protocol';

/** How many finished results a rank keeps, for a leader that did not get them. More than any pipeline has under way. */
const RESULTS_KEPT = 64;
/** Plans that may be ahead of a missing one. */
const PLANS_AHEAD_MAX = 64;

/** Takes the leader's plans from the broker and from the direct link, whichever brings a step first, and runs them in step
 *  order. A plan that comes again is answered again, on the direct link. */
export class PlanReceiver {
  readonly #execute: (plan: StepPlan) => Promise<StepResult | null>;
  readonly #publish: (bus: MessageBus, result: StepResult) => void;
  readonly #main: MessageBus;
  readonly #direct: MessageBus;
  #epoch = -1;
  #nextStep = 0;
  #ahead = new Map<number, StepPlan>();
  #results = new Map<number, StepResult>();

  constructor(options: {
    readonly main: MessageBus;
    readonly direct: MessageBus;
    readonly plans: string;
    readonly execute: (plan: StepPlan) => Promise<StepResult | null>;
    readonly publish: (bus: MessageBus, result: StepResult) => void;
  }) {
    this.#execute = options.execute;
    this.#publish = options.publish;
    this.#main = options.main;
    this.#direct = options.direct;
    for (const bus of new Set([options.main, options.direct])) bus.subscribe(options.plans, ({ data }) => this.#take(data));
  }

  begin(epoch: number): void {
    this.#epoch = epoch;
    this.#nextStep = 0;
    this.#ahead = new Map();
    this.#results = new Map();
  }

  end(): void {
    this.#epoch = -1;
  }

  #take(data: unknown): void {
    const parsed = stepPlanSchema.safeParse(data);
    if (!parsed.success || parsed.data.epoch !== this.#epoch) return;
    const plan = parsed.data;
    if (plan.step < this.#nextStep) {
      const result = this.#results.get(plan.step);
      if (result) this.#publish(this.#direct, result);
      return;
    }
    if (plan.step >= this.#nextStep + PLANS_AHEAD_MAX) return;
    this.#ahead.set(plan.step, plan);
    for (let next = this.#ahead.get(this.#nextStep); next; next = this.#ahead.get(this.#nextStep)) {
      this.#ahead.delete(this.#nextStep);
      this.#nextStep += 1;
      void this.#run(next);
    }
  }

  async #run(plan: StepPlan): Promise<void> {
    const result = await this.#execute(plan);
    if (!result || plan.epoch !== this.#epoch) return;
    this.#results.set(plan.step, result);
    this.#results.delete(plan.step - RESULTS_KEPT);
    this.#publish(this.#main.connected ? this.#main : this.#direct, result);
  }
}
