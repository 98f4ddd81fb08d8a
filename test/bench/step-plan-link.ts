import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { connectNats, type HubAddress, type MessageBus, startLocalHub, startNatsServer } from '@skein/message-bus';
import { packStepInput, type StepInput, unpackStepOutput } from '@skein/native';
import { newIdentity, stepResultSchema, subjects } from '@skein/protocol';

export const GROUP = 'bench';

const DEADLINE_MS = 10_000;

/** Where a rank finds its leader. */
export type RankAddress = { readonly natsUrl: string } | { readonly hub: HubAddress };

export interface StepTimes {
  /** From before the plan is packed until the rank has checked it. */
  readonly planUs: number;
  /** Until the leader has the result unpacked. */
  readonly roundTripUs: number;
}

/** A leader's bus in this process and a rank in another, as a running group has them. */
export class StepPlanLink implements AsyncDisposable {
  readonly #bus: MessageBus;
  readonly #resources: AsyncDisposableStack;
  readonly #waiting = new Map<number, (arrivedUs: number) => void>();
  #step = 0;

  static async overNats(): Promise<StepPlanLink> {
    await using stack = new AsyncDisposableStack();
    const { url } = stack.use(await startNatsServer({ host: '127.0.0.1', port: 0, token: null }));
    const identity = newIdentity('leader');
    const bus = stack.use(await connectNats({ servers: [url], identity, groupKey: null, deadlineMs: DEADLINE_MS }));
    await startRank({ natsUrl: url }, stack);
    return new StepPlanLink(bus, stack.move());
  }

  static async overLocalBus(): Promise<StepPlanLink> {
    await using stack = new AsyncDisposableStack();
    const hub = stack.use(await startLocalHub({ listen: { host: '127.0.0.1', port: 0 }, groupKey: null }));
    if (!hub.address) throw new Error('the hub has no address');
    const bus = stack.use(hub.connect(newIdentity('leader')));
    await startRank({ hub: hub.address }, stack);
    return new StepPlanLink(bus, stack.move());
  }

  private constructor(bus: MessageBus, resources: AsyncDisposableStack) {
    this.#bus = bus;
    this.#resources = resources;
    bus.subscribe(subjects.results(GROUP, 0), ({ data }) => {
      const { step, waitUs, output } = stepResultSchema.parse(data);
      if (output) unpackStepOutput(new Int32Array(output.buffer, output.byteOffset, output.byteLength / 4));
      this.#waiting.get(step)?.(waitUs);
    });
  }

  async roundTrip(input: StepInput): Promise<StepTimes> {
    const step = this.#step++;
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#waiting.set(step, resolve);
    const timer = setTimeout(() => reject(new Error(`no result of plan ${step} in ${DEADLINE_MS} ms`)), DEADLINE_MS);
    const startUs = monotonicUs();
    const words = packStepInput(input);
    const plan = { epoch: 0, step, deadlineMs: 30_000, input: new Uint8Array(words.buffer) };
    this.#bus.publish(subjects.plans(GROUP, 0), plan);
    const arrivedUs = await promise;
    const roundTripUs = monotonicUs() - startUs;
    clearTimeout(timer);
    this.#waiting.delete(step);
    return { planUs: arrivedUs - startUs, roundTripUs };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

/** Starts the rank's process; it ends when the stack is disposed. Resolves once its subscription is in force. */
async function startRank(address: RankAddress, stack: AsyncDisposableStack): Promise<void> {
  const entry = fileURLToPath(import.meta.resolve('./step-plan-rank.ts'));
  const rank = fork(entry, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  stack.defer(() => void (rank.connected && rank.disconnect()));
  const ended = once(rank, 'exit').then(() => {
    throw new Error('the rank ended at its start');
  });
  rank.send(address);
  await Promise.race([once(rank, 'message'), ended]);
}

/** Microseconds of the system's monotonic clock, which the processes of a machine share. */
export function monotonicUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}
