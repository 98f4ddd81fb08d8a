import { type ChildProcess, fork } from 'node:child_process';
import { connectLocal, connectNats, type MessageBus } from '@skein/message-bus';
import { identitySchema, newIdentity } from '@skein/protocol';
import { z } from 'zod';
import { ActorDiedError } from './errors.ts';

const CONNECT_DEADLINE_MS = 10_000;
const RESTART_MS = 100;

const orderSchema = z.object({
  identity: identitySchema,
  bus: z.union([z.object({ natsUrl: z.string() }), z.object({ hub: z.object({ host: z.string(), port: z.int() }) })]),
  groupKey: z.string().nullable(),
});
type Order = z.infer<typeof orderSchema>;

export interface ActorProcessOptions {
  /** Of its identity; each start is a new incarnation. */
  readonly name: string;
  readonly bus: Order['bus'];
  readonly groupKey: string | null;
  /** How often it is started again after it died. Default 0, as Ray's. */
  readonly maxRestarts?: number;
  /** It died and is not started again. */
  readonly onDeath?: (reason: string) => void;
}

/** A child process that hosts actors: `module` calls `runActorProcess`. It ends with this process. */
export class ActorProcess implements AsyncDisposable {
  /** Resolves when the first process hosts its actors; rejects with ERR_ACTOR_DIED when none is left that could. */
  readonly ready: Promise<void>;
  readonly #module: string;
  readonly #options: ActorProcessOptions;
  readonly #ready: PromiseWithResolvers<void> = Promise.withResolvers();
  #child: ChildProcess;
  #restartsLeft: number;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(module: string, options: ActorProcessOptions) {
    this.#module = module;
    this.#options = options;
    this.#restartsLeft = options.maxRestarts ?? 0;
    this.ready = this.#ready.promise;
    // A caller need not look.
    this.ready.catch(() => {});
    this.#child = this.#start();
  }

  get pid(): number | null {
    return this.#child.pid ?? null;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Ends the process, which is not started again. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    if (this.#timer) clearTimeout(this.#timer);
    if (this.#child.pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const { promise: gone, resolve } = Promise.withResolvers<void>();
    this.#child.once('exit', () => resolve());
    this.#child.kill('SIGKILL');
    await gone;
  }

  #start(): ChildProcess {
    const { name, bus, groupKey } = this.#options;
    const child = fork(this.#module, { execArgv: [] });
    child.once('message', () => this.#ready.resolve());
    child.once('error', (error) => child.pid === undefined && this.#ended(`cannot be started: ${error.message}`));
    child.once('exit', (code, signal) =>
      this.#ended(signal === null ? `exited with ${code}` : `was killed by ${signal}`),
    );
    const order: Order = { identity: newIdentity(name), bus, groupKey };
    // One that has ended already does not hear it; its exit says so.
    child.send(order, () => {});
    return child;
  }

  #ended(reason: string): void {
    if (this.#closed) return;
    if (this.#restartsLeft === 0) {
      this.#ready.reject(new ActorDiedError('ERR_ACTOR_DIED', `the process ${this.#options.name} ${reason}`));
      this.#options.onDeath?.(reason);
      return;
    }
    this.#restartsLeft -= 1;
    this.#timer = setTimeout(() => (this.#child = this.#start()), RESTART_MS);
  }
}

/** The child's side: connects as its parent says, and lets `host` host actors on the bus. Ends with its parent. */
export async function runActorProcess(host: (bus: MessageBus) => unknown): Promise<void> {
  process.once('disconnect', () => process.exit(0));
  const { promise, resolve } = Promise.withResolvers<unknown>();
  process.once('message', resolve);
  const { identity, bus, groupKey } = orderSchema.parse(await promise);
  const options = { identity, groupKey, deadlineMs: CONNECT_DEADLINE_MS };
  const joined =
    'natsUrl' in bus
      ? await connectNats({ ...options, servers: [bus.natsUrl] })
      : await connectLocal({ ...options, address: bus.hub });
  host(joined);
  await joined.flush();
  process.send?.({ hosting: true });
}
