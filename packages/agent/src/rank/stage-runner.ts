import { setTimeout as delay } from 'node:timers/promises';
import {
  type Device,
  type NativeAddon,
  NativeError,
  type NativeErrorCode,
  type Program,
  type RawStepOutput,
  type ReceiveChannel,
  type SendChannel,
  type Transport,
  type WeightCacheUse,
  toNativeError,
} from '@skein/native';
import {
  buildStageProgram,
  CheckpointError,
  modelFingerprint,
  readCheckpointTensors,
  readModel,
  resolveKVCacheDtype,
} from '@skein/models';
import { SkeinError } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';
import { Waiting } from '../waiting.ts';
import { hostMemory } from './host-memory.ts';
import type { ChannelSpec, LoadReport, LoadSpec, RankStatus, ThreadShare } from './rank-actor.ts';

/** An abort is seen between two operations, so the longest one is waited for. Below the leader's deadline for a call. */
const ABORTED_STEP_MS_MAX = 12_000;

/** What the addon refuses weights with, when the call itself is right. */
const REFUSAL_CODES: ReadonlySet<NativeErrorCode> = new Set(['ERR_FILE', 'ERR_INVALID_ARGUMENT']);

/** A rank's part of the model on one device: its program, its channels, and the phase it is in. */
export class StageRunner implements Disposable {
  readonly #addon: NativeAddon;
  readonly #device: Device;
  readonly #transport: Transport;
  readonly #logger: Logger;
  readonly #onStuck: (error: SkeinError) => void;
  readonly #onWeightCache: (use: WeightCacheUse) => void;
  #loaded: {
    readonly key: string;
    readonly program: Program;
    readonly fingerprint: string;
    readonly availableBytes: number;
  } | null = null;
  #sends: { readonly peer: string; readonly channel: SendChannel }[] = [];
  #receives: { readonly peer: string; readonly channel: ReceiveChannel }[] = [];
  #state: RankStatus['state'] = 'join';
  #stateSinceMs = performance.now();
  #detail = '';
  readonly #running = new Set<Promise<unknown>>();
  #totals = { steps: 0, computeUs: 0, waitUs: 0 };

  /** `onStuck` is called when this process can compute nothing more, `onWeightCache` when a load went through the cache. */
  constructor(
    addon: NativeAddon,
    options: {
      readonly threads: number;
      readonly network: { readonly interfaceName: string | null; readonly prefersIpv6: boolean };
      readonly logger: Logger;
      readonly onStuck: (error: SkeinError) => void;
      readonly onWeightCache: (use: WeightCacheUse) => void;
    },
  ) {
    this.#addon = addon;
    this.#logger = options.logger;
    this.#onStuck = options.onStuck;
    this.#onWeightCache = options.onWeightCache;
    this.#device = addon.createDevice({ backend: 'cpu', threads: options.threads });
    this.#transport = addon.createTransport(options.network);
  }

  get device(): Device {
    return this.#device;
  }

  get ucxUnavailable(): string | null {
    return this.#transport.ucxUnavailable;
  }

  /** Loads the stage, or keeps it when it is the one already here: weights outlive a re-formed group. */
  async load(spec: LoadSpec): Promise<LoadReport> {
    const key = JSON.stringify(spec);
    if (this.#loaded?.key !== key) {
      this.#loaded?.program.close();
      this.#loaded = null;
      this.#enter('load', spec.model);
      const model = await readModel(spec.model);
      const tensors = await readCheckpointTensors(spec.model);
      const dtype = resolveKVCacheDtype(spec.kvCacheDtype, model.config, tensors);
      const { quantization, weightCache, stages, stage, layers, tensor, expertReplica } = spec;
      const { expertPlacements, limits, numBlocks, blockSize } = spec;
      const checkpoint = { model, tensors, quantization };
      const program = this.#addon.createProgram(
        this.#device,
        buildStageProgram({
          ...checkpoint,
          weightCache,
          stages,
          stage,
          layers,
          tensor,
          expertReplica,
          expertPlacements,
          limits,
          kvCache: { numBlocks, blockSize, dtype },
        }),
      );
      // Read beside the weights; that a file cannot be read is said of the weights.
      const fingerprint = modelFingerprint({ ...checkpoint, maxModelLen: limits.maxModelLen, blockSize, dtype });
      fingerprint.catch(() => {});
      try {
        await this.#loadWeights(program);
      } catch (error) {
        program.close();
        throw refusedWeights(error);
      }
      if (program.weightCacheUse !== null) this.#onWeightCache(program.weightCacheUse);
      this.#loaded = {
        key,
        program,
        fingerprint: await fingerprint,
        availableBytes: hostMemory().availableBytes,
      };
    }
    this.#enter('connect', '');
    const { fingerprint, availableBytes, program } = this.#loaded;
    return { fingerprint, availableBytes, ...program.memory };
  }

  openReceive(channels: readonly ChannelSpec[]): { name: string; descriptor: Uint8Array }[] {
    this.#closeChannels('a new formation');
    const program = this.#program();
    return channels.map(({ name, peer, transport, capacityBytes }) => {
      const channel = this.#transport.openReceive({ name, transport, capacityBytes });
      this.#receives.push({ peer, channel });
      program.bindReceive(peer, channel);
      return { name, descriptor: channel.descriptor() };
    });
  }

  async openSend(channels: readonly (ChannelSpec & { readonly descriptor: Uint8Array })[]): Promise<void> {
    const program = this.#program();
    for (const { name, peer, transport, descriptor } of channels) {
      const channel = await this.#transport.openSend({ name, transport, descriptor, deadlineMs: 10_000 });
      this.#sends.push({ peer, channel });
      program.bindSend(peer, channel);
    }
    this.#enter('warm', '');
  }

  /** Starts an epoch, when the aborted steps of the one before have ended.
   *  @throws SkeinError ERR_STEP_STUCK when one does not end: this process can then compute nothing more. */
  async begin(threads: ThreadShare | null): Promise<void> {
    const program = this.#program();
    const ended = Promise.allSettled(this.#running).then(() => true);
    const inTime = delay(ABORTED_STEP_MS_MAX, false, { ref: false });
    if (!(await Promise.race([ended, inTime]))) {
      const error = new SkeinError('ERR_STEP_STUCK', `an aborted step still runs after ${ABORTED_STEP_MS_MAX} ms`);
      this.#onStuck(error);
      throw error;
    }
    program.reset();
    this.#device.shareProcessors(threads);
    this.#enter('ready', '');
  }

  async run(input: Int32Array, deadlineMs: number): Promise<RawStepOutput> {
    const step = this.#program().run(input, deadlineMs);
    this.#running.add(step);
    const output = await step.finally(() => this.#running.delete(step));
    this.#totals.steps += 1;
    this.#totals.computeUs += output.computeUs;
    this.#totals.waitUs += output.waitUs;
    return output;
  }

  /** Ends whatever runs: blocked transfers fail, queued steps too. */
  abort(reason: string): void {
    this.#loaded?.program.abort();
    this.#closeChannels(reason);
    this.#enter('join', reason);
  }

  fail(detail: string): void {
    this.#enter('failed', detail);
  }

  status(): Omit<RankStatus, 'epoch'> {
    const pairs = this.#sends.map(({ peer, channel }) => ({ peer, ...channel.counters() }));
    const loads = this.#loaded?.program.expertLoads() ?? [];
    return {
      state: this.#state,
      stateSeconds: (performance.now() - this.#stateSinceMs) / 1000,
      detail: this.#detail,
      pairs,
      ...this.#totals,
      experts: loads.map(({ layer, ids, tokens }) => ({ layer, ids: [...ids], tokens: [...tokens] })),
    };
  }

  [Symbol.dispose](): void {
    this.#closeChannels('the rank is closing');
    this.#loaded?.program.close();
    this.#transport.close();
    this.#device.close();
  }

  /** Says how far it is, in its status at once and in the log every 5 s. */
  async #loadWeights(program: Program): Promise<void> {
    const startMs = performance.now();
    using waiting = new Waiting(this.#logger, 'the weights');
    let bytes = 0;
    await program.load((done, total) => {
      const detail = `${done} of ${total} bytes, ${megabytesPerSecond(done, startMs)} MB/s`;
      waiting.detail = detail;
      this.#enter('load', detail);
      bytes = total;
    });
    const seconds = Math.round(performance.now() - startMs) / 1000;
    this.#logger.info({ bytes, seconds, megabytesPerSecond: megabytesPerSecond(bytes, startMs) }, 'loaded the weights');
  }

  #program(): Program {
    if (this.#loaded) return this.#loaded.program;
    throw new SkeinError('ERR_NOT_LOADED', 'the rank has no program; call load first');
  }

  #closeChannels(reason: string): void {
    for (const { channel } of [...this.#sends, ...this.#receives]) {
      channel.fail(reason);
      channel.close();
    }
    this.#sends = [];
    this.#receives = [];
  }

  #enter(state: RankStatus['state'], detail: string): void {
    if (state !== this.#state) this.#stateSinceMs = performance.now();
    this.#state = state;
    this.#detail = detail;
  }
}

function megabytesPerSecond(bytes: number, sinceMs: number): number {
  return Math.round(bytes / 1e3 / Math.max(1, performance.now() - sinceMs));
}

/** The addon refuses weights by what is in the files; everything else unchanged. */
function refusedWeights(error: unknown): unknown {
  const cause = toNativeError(error);
  if (!(cause instanceof NativeError) || !REFUSAL_CODES.has(cause.code)) return error;
  return new CheckpointError(cause.message, { cause });
}
