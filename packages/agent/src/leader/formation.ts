import { setImmediate, setTimeout as delay } from 'node:timers/promises';
import { type ObjectRef, RemoteError } from '@skein/actor';
import type { Engine } from '@skein/engine';
import type { MessageBus } from '@skein/message-bus';
import { measuredPartition } from '@skein/models';
import type { Logger } from '@skein/telemetry';
import { FormationError } from '../errors.ts';
import { type GroupShape, layoutText, ranksPerAgent, ranksPerReplica } from '../group-shape.ts';
import type { Preflight } from '../preflight/preflight.ts';
import { type LoadReport, RankActor, rankSubject, type RankStatus } from '../rank/rank-actor.ts';
import { type FormationInput, type FormationPlan, planFormation } from './formation-plan.ts';
import { kvPoolBlocks } from './kv-pool.ts';
import { Lockstep } from './lockstep.ts';
import { Membership, type Member } from './membership.ts';
import { MeshExecutor } from './mesh-executor.ts';
import { stageTimes } from './stage-times.ts';

const LOAD_DEADLINE_MS = 600_000;
const CALL_DEADLINE_MS = 15_000;
const STATUS_DEADLINE_MS = 500;
/** A group that stood this long is formed again at once. */
const SETTLED_MS = 10_000;
const PAUSE_MS_MAX = 2000;

type RankHandle = ReturnType<typeof RankActor.handle>;
/** Every rank's answer, by place in the replica. */
type CallAll = <T>(call: (rank: RankHandle, index: number) => ObjectRef<T>) => Promise<T[]>;

interface Formed {
  readonly plan: FormationPlan;
  readonly executors: readonly MeshExecutor[];
}

interface Until {
  readonly signal: AbortSignal;
  readonly onLost: (reason: string) => void;
}

export interface FormationState {
  readonly state: 'waiting' | 'forming' | 'ready' | 'lost';
  readonly sinceMs: number;
  readonly detail: string;
  readonly epoch: number;
  readonly members: readonly Member[];
  readonly plan: FormationPlan | null;
  readonly fingerprint: string;
}

/** A data-parallel replica. */
export interface ServedReplica {
  readonly index: number;
  readonly engine: Engine;
}

export interface FormationOptions {
  readonly main: MessageBus;
  readonly direct: MessageBus;
  /** Where ranks reach `direct`. */
  readonly directAddress: { readonly host: string; readonly port: number };
  readonly group: string;
  readonly groupSize: number;
  /** Of one replica, or of all where these share their experts. */
  readonly replicas: readonly ServedReplica[];
  /** One for all formations of the group. */
  readonly preflight: Pick<Preflight, 'check'>;
  readonly stepDeadlineMs: number;
  readonly input: FormationInput;
  /** What the replicas that are formed by themselves have loaded; empty before any has. */
  readonly fingerprintOfOthers: () => string;
  readonly logger: Logger;
  /** The engines have their executors. */
  readonly onFormed: () => void;
}

/** Forms a replica of the group's model, or all that share their experts, gives the engines their executors, and does it again
 *  each time a member is lost. */
export class Formation {
  readonly #options: FormationOptions;
  readonly #membership: Membership;
  #epoch = 0;
  /** `split`: the hosts, and the layers that they had. */
  #pool: { readonly split: string; readonly numBlocks: number } | null = null;
  /** By how long stages took on these hosts. */
  #timed: { readonly hosts: string; readonly layerPartition: readonly number[] | null } | null = null;
  #now: FormationState;
  readonly #loading = Promise.withResolvers<void>();

  constructor(options: FormationOptions) {
    const { main, group, groupSize, replicas, input, logger } = options;
    const perReplica = ranksPerReplica(input.shape);
    this.#options = options;
    this.#membership = new Membership(main, {
      group,
      groupSize,
      ranksPerAgent: ranksPerAgent(input.shape, groupSize),
      layout: layoutText(input.shape, groupSize),
      firstRank: (replicas[0]?.index ?? 0) * perReplica,
      numRanks: replicas.length * perReplica,
      logger,
    });
    this.#now = {
      state: 'waiting',
      sinceMs: performance.now(),
      detail: '',
      epoch: 0,
      members: [],
      plan: null,
      fingerprint: '',
    };
  }

  get shape(): GroupShape {
    return this.#options.input.shape;
  }

  get current(): FormationState {
    return this.#now.state === 'waiting' ? { ...this.#now, detail: this.#membership.missing } : this.#now;
  }

  /** Resolves when ranks have been told for the first time what to load. */
  get loading(): Promise<void> {
    return this.#loading.promise;
  }

  get membership(): Membership {
    return this.#membership;
  }

  /** Runs until `signal`, or until a group of these options cannot be (HOPELESS_CODES). A group that keeps falling apart is
   *  formed at growing intervals. */
  async run(signal: AbortSignal): Promise<void> {
    let pauseMs = 0;
    try {
      while (!signal.aborted) {
        const members = await this.#membership.complete(signal);
        const startMs = performance.now();
        await this.#lead(members, signal);
        pauseMs = performance.now() - startMs > SETTLED_MS ? 0 : Math.min(PAUSE_MS_MAX, pauseMs * 2 + 100);
        await delay(pauseMs, undefined, { signal });
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#membership.close();
    }
  }

  /** What a rank says of itself, or null when it does not answer soon. */
  async status(member: Member): Promise<RankStatus | null> {
    return this.#rank(member)
      .status.options({ deadlineMs: STATUS_DEADLINE_MS })
      .remote({})
      .then(
        (status) => status,
        () => null,
      );
  }

  /** One epoch: forms the group of `members` and lets the engine use it. @returns when it is lost, or could not be formed.
   *  @throws FormationError with one of HOPELESS_CODES. */
  async #lead(members: readonly Member[], signal: AbortSignal): Promise<void> {
    const { logger, replicas, onFormed } = this.#options;
    const over = new AbortController();
    const end = AbortSignal.any([signal, over.signal]);
    const failed = Promise.withResolvers<string>();
    const lost = Promise.race([this.#membership.lost(members, end), failed.promise]);
    let executors: readonly MeshExecutor[] = [];
    let reason;
    let hopeless: FormationError | null = null;
    try {
      const startMs = performance.now();
      const forming = this.#formMeasured(members, { signal: end, onLost: failed.resolve });
      const formed = await Promise.race([
        forming,
        lost.then((why) => Promise.reject(new FormationError('ERR_MEMBER_LOST', why))),
      ]);
      executors = formed.executors;
      const attached = executors.length > 1 ? new Lockstep(executors).executors : executors;
      for (const [i, { engine }] of replicas.entries()) engine.attach(at(attached, i));
      this.#enter('ready', '');
      logger.info({ epoch: this.#epoch, ranks: members.length, seconds: seconds(startMs) }, 'the group is formed');
      onFormed();
      reason = await lost;
      if (!signal.aborted) logger.warn({ epoch: this.#epoch }, `the group is lost: ${reason}`);
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error);
      if (error instanceof FormationError && HOPELESS_CODES.has(error.code)) hopeless = error;
      if (!signal.aborted) logger.error({ epoch: this.#epoch }, `the group could not be formed: ${reason}`);
    }
    this.#enter('lost', reason);
    // Ends what the attempt still waits for: calls to ranks, the watch over the members.
    over.abort();
    for (const executor of executors) executor.lose(new Error(reason));
    // The engine first sees its steps fail, so that a request which fells every group in turn is found out.
    await setImmediate();
    await setImmediate();
    for (const { engine } of replicas) engine.detach(new Error(reason));
    if (hopeless) throw hopeless;
  }

  /** As #form, with the layers that each stage has by how long it took, where that was asked for. Without room for these it has
   *  those that it had. */
  async #formMeasured(members: readonly Member[], until: Until): Promise<Formed> {
    const { input, logger } = this.#options;
    const hosts = hostsOf(members);
    const isNew = await this.#timeStages(members, until.signal);
    try {
      return await this.#form(members, until);
    } catch (error) {
      if (!isNew) throw error;
      this.#timed = { hosts, layerPartition: input.layerPartition };
      if (until.signal.aborted) throw error;
      logger.warn(
        { err: error },
        'the group could not be formed with layers by the time that stages took; it has others',
      );
      return this.#form(members, until);
    }
  }

  /** Once for the same hosts: forms the group to time its stages, and decides by that which layers they have from then on.
   *  @returns whether these are others. */
  async #timeStages(members: readonly Member[], signal: AbortSignal): Promise<boolean> {
    const { input, logger } = this.#options;
    const hosts = hostsOf(members);
    if (input.costsToMeasure === null || input.shape.stages === 1 || this.#timed?.hosts === hosts) return false;
    const { plan, executors } = await this.#form(members, { signal, onLost: () => {} });
    const release = (): void => {
      for (const executor of executors) executor.lose(new Error('the stages are timed no longer'));
    };
    signal.addEventListener('abort', release);
    try {
      this.#enter('forming', 'timing the stages');
      const ranks = members.map((member) => this.#rank(member));
      const microseconds = await stageTimes({
        executors,
        places: plan.places,
        vocabSize: input.config.vocabSize,
        maxSequences: Math.min(input.maxNumSeqs, input.maxNumBatchedTokens, input.maxNumRows),
        statuses: () => answers(ranks.map(askStatus), members, signal),
      });
      const layers = plan.layers.map(([first, end]) => end - first);
      const better = measuredPartition(input.costsToMeasure, plan.layers, microseconds);
      logger.info({ microseconds, layers, becomes: better ?? layers }, 'timed the stages');
      this.#timed = { hosts, layerPartition: better ?? input.layerPartition };
      return better !== null;
    } finally {
      signal.removeEventListener('abort', release);
      release();
    }
  }

  /** @throws when a rank refuses or does not answer, and soon after `signal`; then nothing is left behind here. */
  async #form(members: readonly Member[], until: Until): Promise<Formed> {
    const { main, direct, directAddress, group, replicas, preflight, stepDeadlineMs, input } = this.#options;
    const { signal, onLost } = until;
    const timed = this.#timed?.hosts === hostsOf(members) ? this.#timed : input;
    const plan = planFormation(members, { ...input, layerPartition: timed.layerPartition });
    await preflight.check(members, signal);
    const ranks = members.map((member) => this.#rank(member));
    const all: CallAll = (call) => answers(ranks.map(call), members, signal);

    // An earlier leader process may have got further than this one knows.
    const statuses = await all(askStatus);
    const epoch = Math.max(this.#epoch, ...statuses.map((s) => s.epoch)) + 1;
    this.#epoch = epoch;
    this.#now = { ...this.#now, members, plan, epoch };
    this.#enter('forming', '');

    await all((rank) =>
      rank.abort.options({ deadlineMs: CALL_DEADLINE_MS }).remote({ epoch, reason: `epoch ${epoch} begins` }),
    );
    const loading = all((rank, index) =>
      rank.load.options({ deadlineMs: LOAD_DEADLINE_MS }).remote({ epoch, spec: at(plan.loads, index) }),
    );
    // What was written by now leaves with this turn of the event loop.
    void setImmediate().then(this.#loading.resolve);
    const loaded = await loading;
    const [first] = loaded;
    for (const [index, { fingerprint }] of loaded.entries()) {
      if (fingerprint !== first?.fingerprint) {
        const workers = [index, 0].map((i) => members[i]?.advert.workerIndex);
        throw new FormationError(
          'ERR_FINGERPRINT',
          `worker ${workers[0]} has model ${fingerprint}, worker ${workers[1]} has ${first?.fingerprint}; give every agent the same files`,
        );
      }
    }
    const fingerprint = first?.fingerprint ?? '';
    const others = this.#options.fingerprintOfOthers();
    if (others !== '' && others !== fingerprint) {
      throw new FormationError(
        'ERR_FINGERPRINT',
        `replica ${replicas[0]?.index} has model ${fingerprint}, the others have ${others}; give every agent the same files`,
      );
    }
    this.#now = { ...this.#now, fingerprint };

    // A group of one has nobody to connect.
    if (plan.channels.length > 0) await openChannels(plan, { epoch, all });
    const numBlocks = this.#poolBlocks(members, plan, loaded);
    const executors = replicas.map(
      ({ index: replica }) =>
        new MeshExecutor({
          main,
          direct,
          group,
          replica,
          epoch,
          numStages: input.shape.stages,
          numBlocks,
          blockSize: input.blockSize,
          maxModelLen: input.maxModelLen,
          maxLogprobs: input.maxLogprobs,
          stepDeadlineMs,
          onLost: (error) => onLost(error.message),
        }),
    );
    try {
      await all((rank, index) => {
        const { replica } = at(plan.places, index);
        const threads = at(plan.threads, index);
        return rank.begin
          .options({ deadlineMs: CALL_DEADLINE_MS })
          .remote({ epoch, replica, threads, direct: directAddress });
      });
      signal.throwIfAborted();
    } catch (error) {
      for (const executor of executors) executor.lose(new Error('the group could not be formed'));
      throw error;
    }
    return { plan, executors };
  }

  /** The KV pool's size. A group that is formed again on the same hosts keeps it: what it used before is its own. Other layers leave
   *  other room. */
  #poolBlocks(members: readonly Member[], plan: FormationPlan, loaded: readonly LoadReport[]): number {
    const { input, logger } = this.#options;
    const capacity = at(plan.loads, 0).numBlocks;
    if (input.numBlocks !== null || input.kvCacheBytes !== null) return capacity;
    const split = `${hostsOf(members)} ${plan.layers.join(' ')}`;
    if (this.#pool?.split !== split) {
      const ranks = members.map(({ advert }, index) => {
        const { weightBytes, availableBytes } = at(loaded, index);
        return { hostId: advert.hostId, blockBytes: at(plan.blockBytes, index), weightBytes, availableBytes };
      });
      const numBlocks = Math.min(capacity, kvPoolBlocks(ranks, input.memoryShare, input.othersHere));
      this.#pool = { split, numBlocks };
      const bytes = plan.blockBytes.map((blockBytes) => blockBytes * numBlocks);
      logger.info({ blocks: numBlocks, tokens: numBlocks * input.blockSize, bytes }, 'sized the KV cache');
    }
    return this.#pool.numBlocks;
  }

  #rank({ rank, advert }: Member): RankHandle {
    return RankActor.handle(this.#options.main, rankSubject(this.#options.group, advert.rankIndex, rank));
  }

  #enter(state: FormationState['state'], detail: string): void {
    this.#now = { ...this.#now, state, detail, sinceMs: performance.now() };
  }
}

/** Of every rank. */
function hostsOf(members: readonly Member[]): string {
  return members.map(({ advert }) => advert.hostId).join(' ');
}

function askStatus(rank: RankHandle): ObjectRef<RankStatus> {
  return rank.status.options({ deadlineMs: CALL_DEADLINE_MS }).remote({});
}

/** Opens every channel at the end that reads, then at the one that writes. */
async function openChannels(plan: FormationPlan, of: { readonly epoch: number; readonly all: CallAll }): Promise<void> {
  const { epoch, all } = of;
  const descriptors = new Map<string, Uint8Array>();
  const opened = await all((rank, index) => {
    const channels = plan.channels
      .filter((c) => c.to === index)
      .map(({ name, fromPeer, transport, capacityBytes }) => ({ name, peer: fromPeer, transport, capacityBytes }));
    return rank.openReceive.options({ deadlineMs: CALL_DEADLINE_MS }).remote({ epoch, channels });
  });
  for (const { name, descriptor } of opened.flat()) descriptors.set(name, descriptor);
  await all((rank, index) => {
    const channels = plan.channels
      .filter((c) => c.from === index)
      .map(({ name, toPeer, transport, capacityBytes }) => ({
        name,
        peer: toPeer,
        transport,
        capacityBytes,
        descriptor: descriptors.get(name) ?? new Uint8Array(),
      }));
    return rank.openSend.options({ deadlineMs: CALL_DEADLINE_MS }).remote({ epoch, channels });
  });
}

/** Nothing that happens by itself changes these: no other attempt finds more room, or other weights in the files. */
const HOPELESS_CODES: ReadonlySet<string> = new Set(['ERR_KV_CACHE', 'ERR_CHECKPOINT']);
/** What a rank refuses a model's files with. */
const REFUSED_MODEL_CODES: ReadonlySet<string> = new Set(['ERR_CHECKPOINT', 'ERR_MODEL_CONFIG']);

/** Every rank's answer, by place in the replica. When one fails, or at `signal`, the calls still open are cancelled. */
async function answers<T>(
  calls: readonly ObjectRef<T>[],
  members: readonly Member[],
  signal: AbortSignal,
): Promise<T[]> {
  const cancel = (): void => {
    for (const call of calls) call.cancel();
  };
  signal.addEventListener('abort', cancel, { once: true });
  if (signal.aborted) cancel();
  try {
    return await Promise.all(
      calls.map((call, i) =>
        call.then(null, (error: unknown) => {
          throw new FormationError(
            error instanceof RemoteError && REFUSED_MODEL_CODES.has(error.code) ? 'ERR_CHECKPOINT' : 'ERR_FORMATION',
            `worker ${members[i]?.advert.workerIndex}: ${error instanceof Error ? error.message : String(error)}`,
            { cause: error },
          );
        }),
      ),
    );
  } finally {
    signal.removeEventListener('abort', cancel);
    cancel();
  }
}

function at<T>(list: readonly T[], index: number): T {
  const value = list[index];
  if (value === undefined) throw new RangeError(`index ${index} of ${list.length}`);
  return value;
}

function seconds(sinceMs: number): number {
  return Math.round(performance.now() - sinceMs) / 1000;
}
