import type { MessageBus } from '@skein/message-bus';
import { type StepPlan, stepPlanSchema, type StepResult, subjects } from '@skein/protocol';

/** How many finished results a rank keeps, for a leader that did not get them. More than any pipeline has under way. */
const RESULTS_KEPT = 64;
/** Plans that may be ahead of a missing one. */
const PLANS_AHEAD_MAX = 64;
/** Room for all of a result that is not its output. */
export const RESULT_BYTES = 256;

export interface PlanReceiverOptions {
  readonly main: MessageBus;
  readonly direct: MessageBus;
  readonly group: string;
  readonly replica: number;
  readonly epoch: number;
  /** @returns what to answer, or null when another rank answers. */
  readonly execute: (plan: StepPlan) => Promise<StepResult | null>;
}

/** Takes the leader's plans of one epoch from the broker and from the direct link, whichever brings a step first, and runs
 *  them in step order. A plan that comes again is answered again, on the direct link. */
export class PlanReceiver implements Disposable {
  readonly #options: PlanReceiverOptions;
  /** Of results. */
  readonly #subject: string;
  readonly #subscriptions: readonly { close(): void }[];
  readonly #ahead = new Map<number, StepPlan>();
  readonly #results = new Map<number, StepResult>();
  #nextStep = 0;
  #ended = false;

  constructor(options: PlanReceiverOptions) {
    this.#options = options;
    this.#subject = subjects.results(options.group, options.replica);
    const { main, direct, group, replica } = options;
    this.#subscriptions = [...new Set([main, direct])].map((bus) =>
      bus.subscribe(subjects.plans(group, replica), ({ data }) => this.#take(data)),
    );
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    for (const subscription of this.#subscriptions) subscription.close();
  }

  #take(data: unknown): void {
    const parsed = stepPlanSchema.safeParse(data);
    if (!parsed.success || parsed.data.epoch !== this.#options.epoch) return;
    const plan = parsed.data;
    if (plan.step < this.#nextStep) {
      const result = this.#results.get(plan.step);
      if (result) this.#options.direct.publish(this.#subject, result);
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
    const { main, direct, execute } = this.#options;
    const result = await execute(plan);
    if (!result || this.#ended) return;
    const bytes = (result.output?.byteLength ?? 0) + RESULT_BYTES;
    const answer = bytes <= direct.maxPayloadBytes ? result : tooLarge(result, bytes);
    this.#results.set(plan.step, answer);
    this.#results.delete(plan.step - RESULTS_KEPT);
    const goesByBroker = main.connected && bytes <= main.maxPayloadBytes;
    (goesByBroker ? main : direct).publish(this.#subject, answer);
  }
}

function tooLarge(result: StepResult, bytes: number): StepResult {
  const message = `the step's output of ${bytes} bytes is larger than the direct link takes; ask for fewer logprobs at once`;
  return { ...result, output: null, error: { code: 'ERR_MESSAGE_TOO_LARGE', message } };
}
