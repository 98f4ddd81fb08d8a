import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { type Identity, newIdentity } from '@skein/protocol';
import { CarrierBus } from '../carrier-bus.ts';
import type { MessageBus } from '../message-bus.ts';
import { FaultyCarrier } from './faulty-carrier.ts';
import type { MemberOrder } from './member-process.ts';
import type { BusTarget } from '../bus-target.ts';
import { identityOf, openCarrier, type OpenOptions } from './target.ts';

/** The buses and processes of one test; all are gone when it ends. */
export class Party implements AsyncDisposable {
  readonly target: BusTarget;
  readonly #buses: MessageBus[] = [];
  readonly #children: ChildProcess[] = [];

  constructor(target: BusTarget) {
    this.target = target;
  }

  async bus(who: string | Identity, options: OpenOptions = {}): Promise<MessageBus> {
    return (await this.faultyBus(who, options)).bus;
  }

  async faultyBus(
    who: string | Identity,
    options: OpenOptions = {},
  ): Promise<{ bus: MessageBus; carrier: FaultyCarrier }> {
    const identity = identityOf(who);
    const carrier = new FaultyCarrier(await openCarrier(this.target, identity, options));
    const bus = new CarrierBus(identity, carrier, options.onWarning);
    this.#buses.push(bus);
    return { bus, carrier };
  }

  /** Starts a member process and waits until it has joined. */
  async member(name: string, order: Omit<MemberOrder, 'target' | 'identity'>): Promise<ChildProcess> {
    const child = fork(join(import.meta.dirname, 'member-process.ts'));
    this.#children.push(child);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    child.once('message', () => resolve());
    child.once('exit', () => reject(new Error(`${name} ended before it was ready`)));
    const full: MemberOrder = { ...order, target: this.target, identity: newIdentity(name) };
    child.send(full);
    await promise;
    return child;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    await Promise.all(this.#buses.map((bus) => bus.close()));
  }
}
