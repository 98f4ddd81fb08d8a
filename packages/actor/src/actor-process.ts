import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type BusTarget, type MessageBus, spawnBound, type Subscription, SupervisedProcess } from '@skein/message-bus';
import { type Identity, newIdentity } from '@skein/protocol';
import type { ActorClass, Methods } from './actor-class.ts';
import type { ActorHandle } from './actor-handle.ts';
import { actorSubject, deathSubject, ownerAnswerSchema, ownerRequestSchema, ownerSubject } from './actor-wire.ts';
import { ActorCallError, type ActorDeath, actorDied } from './errors.ts';
import { askOwner } from './named-actor.ts';
import { type ActorOrder, actorReportSchema } from './run-actor.ts';

const START_MS_MAX = 15_000;
const GRACE_MS = 1000;

export interface ActorProcessOptions {
  /** By which `getActor` finds it; each start is a new incarnation. */
  readonly name: string;
  /** The module that calls `runActor`: `new URL('counter-process.ts', import.meta.url)`. */
  readonly module: URL;
  /** The owner's own bus, where it answers for the actor and tells its deaths. */
  readonly bus: MessageBus;
  /** How the process joins the same bus. */
  readonly join: BusTarget;
  /** For the module's constructor; JSON. */
  readonly argument?: unknown;
  /** How often it is started again after it died; a kill is for good. Default 0. */
  readonly maxRestarts?: number;
  readonly onDeath?: (death: ActorDeath) => void;
}

/** An actor in a child process of this one, its owner, with which it ends. */
export class ActorProcess<M extends Methods> implements AsyncDisposable {
  readonly handle: ActorHandle<M>;
  readonly #subject: string;
  readonly #options: ActorProcessOptions;
  readonly #hosting = Promise.withResolvers<void>();
  readonly #process: SupervisedProcess;
  readonly #served: Subscription;
  #identity: Identity;
  /** What the process that runs now reported before it ended. */
  #failure: string | null = null;
  #restartsLeft: number;
  #isDead = false;

  /** Resolves when the actor can be called. Of two that start one name at the same moment both may succeed.
   *  @throws ActorCallError ERR_ACTOR_NAME when the name is taken, ActorDiedError when it does not come up. */
  static async start<M extends Methods>(actor: ActorClass<M>, options: ActorProcessOptions): Promise<ActorProcess<M>> {
    const { name, bus } = options;
    if ((await askOwner(bus, actorSubject(name), 'describe')) !== null)
      throw new ActorCallError('ERR_ACTOR_NAME', `another actor is named ${name}; names are unique on a bus`);
    const started = new ActorProcess(actor, options);
    await started.#hosting.promise;
    return started;
  }

  private constructor(actor: ActorClass<M>, options: ActorProcessOptions) {
    this.#subject = actorSubject(options.name);
    this.#options = options;
    this.#identity = newIdentity(options.name);
    this.#restartsLeft = options.maxRestarts ?? 0;
    // Whoever closes it while it starts does not wait for it.
    this.#hosting.promise.catch(() => {});
    this.handle = actor.handle(options.bus, this.#subject);
    this.#served = options.bus.serve(ownerSubject(this.#subject), async ({ data }) => {
      if (ownerRequestSchema.parse(data) === 'kill') await this.#end('was killed');
      return ownerAnswerSchema.parse({ actor: actor.name });
    });
    this.#process = new SupervisedProcess({
      start: () => this.#spawn(actor.name),
      onEnd: ({ reason }) => this.#onEnd(reason),
      graceMs: GRACE_MS,
    });
  }

  /** Of the process that runs now; null between two. */
  get pid(): number | null {
    return this.#process.pid;
  }

  /** Ends the process; it is not started again, and its name is free. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end('was ended by its owner');
    this.#served.close();
  }

  #spawn(actor: string): ChildProcess {
    const { name, module, join, argument = null } = this.#options;
    this.#identity = newIdentity(name);
    this.#failure = null;
    const child = spawnBound(process.execPath, [fileURLToPath(module)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const timer = setTimeout(() => {
      this.#failure = `did not start within ${START_MS_MAX} ms`;
      child.kill('SIGKILL');
    }, START_MS_MAX);
    child.once('exit', () => clearTimeout(timer));
    child.on('message', (message) => {
      const report = actorReportSchema.safeParse(message);
      // The module may have messages of its own.
      if (!report.success) return;
      clearTimeout(timer);
      if ('hosting' in report.data) this.#hosting.resolve();
      else this.#failure = `could not start: ${report.data.failed}`;
    });
    const order: ActorOrder = { identity: this.#identity, bus: join, actor, argument };
    // One that has ended already does not hear it; its exit says so.
    child.send(order, () => {});
    return child;
  }

  #onEnd(reason: string): boolean {
    const restarts = this.#restartsLeft > 0;
    this.#restartsLeft -= 1;
    this.#tell({ identity: this.#identity, cause: this.#failure ?? reason, restarts });
    return restarts;
  }

  async #end(cause: string): Promise<void> {
    await this.#process.close();
    if (!this.#isDead) this.#tell({ identity: this.#identity, cause, restarts: false });
  }

  #tell(death: ActorDeath): void {
    const { bus, onDeath } = this.#options;
    // A bus that was closed has nobody to tell.
    if (bus.connected) bus.publish(deathSubject(this.#subject), death);
    onDeath?.(death);
    if (death.restarts) return;
    this.#isDead = true;
    this.#hosting.reject(actorDied(this.#subject, death));
    // The answer to a kill leaves first.
    setImmediate(() => this.#served.close());
  }
}
