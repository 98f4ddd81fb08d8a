import type { Engine } from '@skein/engine';
import type { MessageBus } from '@skein/message-bus';
import { stagePeer } from '@skein/models';
import { subjects } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';
import { FormationError } from '../errors.ts';
import { RankActor, type RankStatus } from '../rank/rank-actor.ts';
import { type FormationInput, type FormationPlan, planFormation } from './formation-plan.ts';
import { Membership, type Member } from './membership.ts';
import { MeshExecutor } from './mesh-executor.ts';

const LOAD_DEADLINE_MS = 600_000;
const CALL_DEADLINE_MS = 15_000;

type RankHandle = ReturnType<typeof RankActor.handle>;

export interface FormationState {
  readonly state: 'waiting' | 'forming' | 'ready' | 'lost';
  readonly sinceMs: number;
  readonly detail: string;
  readonly epoch: number;
  readonly members: readonly Member[];
  readonly plan: FormationPlan | null;
  readonly fingerprint: string;
}

export interface FormationOptions {
  readonly main: MessageBus;
  readonly direct: MessageBus;
  /** Where ranks reach `direct`. */
  readonly directAddress: { readonly host: string; readonly port: number };
  readonly group: string;
  readonly groupSize: number;
  readonly stepDeadlineMs: number;
  readonly input: FormationInput;
  readonly engine: Engine;
  readonly logger: Logger;
}

/** Forms the group, gives the engine its executor, and does it again each time a member is lost. */
export class Formation {
  readonly #options: FormationOptions;
  readonly #membership: Membership;
  #epoch = 0;
  #now: FormationState;
  #lost: (reason: string) => void = () => {};

  constructor(options: FormationOptions) {
    this.#options = options;
    this.#membership = new Membership(options.main, options.group, options.groupSize, options.logger);
    this.#now = { state: 'waiting', sinceMs: performance.now(), detail: '', epoch: 0, members: [], plan: null, fingerprint: '' };
  }

  get current(): FormationState {
    return this.#now;
  }

  get membership(): Membership {
    return this.#membership;
  }

  /** Runs until `signal`. */
  async run(signal: AbortSignal): Promise<void> {
    const { logger, engine } = this.#options;
    let pauseMs = 0;
    while (!signal.aborted) {
      const members = await this.#membership.complete(signal);
      const attempt = new AbortController();
      const end = AbortSignal.any([signal, attempt.signal]);
      const memberLost = this.#membership.lost(members, end);
      const lost = Promise.race([memberLost, new Promise<string>((resolve) => (this.#lost = resolve))]);
      try {
        const startMs = performance.now();
        const executor = await Promise.race([this.#form(members), lost.then((reason) => Promise.reject(new FormationError('ERR_MEMBER_LOST', reason)))]);
        engine.attach(executor);
        pauseMs = 0;
        logger.info({ epoch: this.#epoch, stages: members.length, seconds: seconds(startMs) }, 'the group is formed');
        const reason = await lost;
        executor.lose(new Error(reason));
        engine.detach(new Error(reason));
        if (!signal.aborted) logger.warn({ epoch: this.#epoch }, `the group is lost: ${reason}`);
        this.#enter('lost', reason);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        if (signal.aborted) break;
        this.#enter('lost', reason);
        logger.error({ epoch: this.#epoch }, `the group could not be formed: ${reason}`);
        pauseMs = Math.min(2000, pauseMs * 2 + 100);
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      } finally {
        attempt.abort();
      }
    }
    this.#membership.close();
  }

  rank(workerIndex: number): RankHandle {
    return RankActor.handle(this.#options.main, subjects.rankActor(this.#options.group, workerIndex));
  }

  /** What a rank says of itself, or null when it does not answer soon. */
  async status(workerIndex: number): Promise<RankStatus | null> {
    return this.rank(workerIndex)
      .status.options({ deadlineMs: 500 })
      .remote({})
      .then((status) => status, () => null);
  }

  async #form(members: readonly Member[]): Promise<MeshExecutor> {
    const { main, direct, directAddress, group, stepDeadlineMs, input } = this.#options;
    const epoch = ++this.#epoch;
    const plan = planFormation(members, input);
    this.#now = { ...this.#now, members, plan, epoch };
    this.#enter('forming', '');
    const ranks = members.map((_, i) => this.rank(i));
    const all = async <T>(call: (rank: RankHandle, stage: number) => PromiseLike<T>): Promise<T[]> => Promise.all(ranks.map(call));

    await all((rank) => rank.abort.options({ deadlineMs: CALL_DEADLINE_MS }).remote({ epoch, reason: `epoch ${epoch} begins` }));
    const loaded = await all((rank, stage) => rank.load.options({ deadlineMs: LOAD_DEADLINE_MS }).remote(at(plan.loads, stage)));
    const [first] = loaded;
    for (const [stage, { fingerprint }] of loaded.entries()) {
      if (fingerprint !== first?.fingerprint) {
        throw new FormationError('ERR_FINGERPRINT', `stage ${stage} has model ${fingerprint}, stage 0 has ${first?.fingerprint}; give every agent the same files`);
      }
    }
    this.#now = { ...this.#now, fingerprint: first?.fingerprint ?? '' };

    const descriptors = new Map<string, Uint8Array>();
    const opened = await all((rank, stage) => {
      const channels = plan.channels.filter((c) => c.to === stage).map(({ name, from, transport }) => ({ name, peer: stagePeer(from), transport }));
      return rank.openReceive.options({ deadlineMs: CALL_DEADLINE_MS }).remote({ epoch, channels });
    });
    for (const { name, descriptor } of opened.flat()) descriptors.set(name, descriptor);
    await all((rank, stage) => {
      const channels = plan.channels
        .filter((c) => c.from === stage)
        .map(({ name, to, transport }) => ({ name, peer: stagePeer(to), transport, descriptor: descriptors.get(name) ?? new Uint8Array() }));
      return rank.openSend.options({ deadlineMs: CALL_DEADLINE_MS }).remote({ epoch, channels });
    });
    const executor = new MeshExecutor({
      main,
      direct,
      group,
      epoch,
      numStages: members.length,
      numBlocks: at(plan.loads, 0).numBlocks,
      blockSize: input.blockSize,
      maxModelLen: input.maxModelLen,
      maxLogprobs: input.maxLogprobs,
      stepDeadlineMs,
      onLost: (error) => this.#lost(error.message),
    });
    await all((rank) => rank.begin.options({ deadlineMs: CALL_DEADLINE_MS }).remote({ epoch, direct: directAddress }));
    this.#enter('ready', '');
    return executor;
  }

  #enter(state: FormationState['state'], detail: string): void {
    this.#now = { ...this.#now, state, detail, sinceMs: performance.now() };
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
