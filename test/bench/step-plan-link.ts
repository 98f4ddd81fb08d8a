import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { connectNats, type HubAddress, type MessageBus, startLocalHub, startNatsServer } from '@skein/message-bus';
import { packStepInput, type StepInput, unpackStepOutput } from '@skein/native';
import { newIdentity, stepResultSchema, subjects } from '@skein/protocol';

export const GROUP = 'bench';

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
  readonly #rank: ChildProcess;
  readonly #closeBroker: () => Promise<void>;
  readonly #waiting = new Map<number, (arrivedUs: number) => void>();
  #step = 0;

  static async overNats(): Promise<StepPlanLink> {
    const server = await startNatsServer({ host: '127.0.0.1', port: 0, token: null });
    const identity = newIdentity('leader');
    const bus = await connectNats({ servers: [server.url], identity, groupKey: null, deadlineMs: 10_000 });
    return StepPlanLink.#open(bus, { natsUrl: server.url }, () => server.stop());
  }

  static async overLocalBus(): Promise<StepPlanLink> {
    const hub = await startLocalHub({ listen: { host: '127.0.0.1', port: 0 }, groupKey: null });
    if (!hub.address) throw new Error('the hub has no address');
    return StepPlanLink.#open(hub.connect(newIdentity('leader')), { hub: hub.address }, () => hub.close());
  }

  static async #open(bus: MessageBus, address: RankAddress, closeBroker: () => Promise<void>): Promise<StepPlanLink> {
    const rank = fork(fileURLToPath(import.meta.resolve('./step-plan-rank.ts')), {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const link = new StepPlanLink(bus, rank, closeBroker);
    await bus.flush();
    const ready = Promise.race([
      once(rank, 'message'),
      once(rank, 'exit').then(() => Promise.reject(new Error('the rank ended at its start'))),
    ]);
    rank.send(address);
    await ready;
    return link;
  }

  private constructor(bus: MessageBus, rank: ChildProcess, closeBroker: () => Promise<void>) {
    this.#bus = bus;
    this.#rank = rank;
    this.#closeBroker = closeBroker;
    bus.subscribe(subjects.results(GROUP), ({ data }) => {
      const { step, waitUs, output } = stepResultSchema.parse(data);
      if (output) unpackStepOutput(new Int32Array(output.buffer, output.byteOffset, output.byteLength / 4));
      this.#waiting.get(step)?.(waitUs);
      this.#waiting.delete(step);
    });
  }

  async roundTrip(input: StepInput): Promise<StepTimes> {
    const step = this.#step++;
    const { promise, resolve } = Promise.withResolvers<number>();
    this.#waiting.set(step, resolve);
    const startUs = monotonicUs();
    const words = packStepInput(input);
    const plan = { epoch: 0, step, deadlineMs: 30_000, input: new Uint8Array(words.buffer) };
    this.#bus.publish(subjects.plans(GROUP), plan);
    const arrivedUs = await promise;
    return { planUs: arrivedUs - startUs, roundTripUs: monotonicUs() - startUs };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#rank.disconnect();
    await this.#bus.close();
    await this.#closeBroker();
  }
}

/** Microseconds of the system's monotonic clock, which the processes of a machine share. */
export function monotonicUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}
