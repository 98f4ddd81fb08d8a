/** The whole native surface, declared once, with `weight-source.ts`. Everything that crosses is a DTO: plain data, typed arrays, `null` and never
 *  `undefined`. Native failures arrive as Error objects with a string `code`; `errors.ts` turns them into classes. */

import type { Dtype, WeightSource } from './weight-source.ts';

/** Index into `ProgramSpec.weights`. */
export type WeightId = number;
/** Names an intermediate value of a program: f32 [numTokens or numRows, width], written once. */
export type ValueId = number;

/** One recorded operation. Token values have one row per token of the step; row values (after gatherRows) one per logit
 *  row. Widths follow from the weights; the addon checks them when the program is created. */
export type Op =
  /** out[t] = weight[token(t) - firstId] * scale; weight [rows, width]. A negative token id -1-s reads the feedback slot s. Of an
   *  id that is not among the weight's rows out[t] is zero: a part of the vocabulary embeds its own tokens. */
  | {
      readonly op: 'embed';
      readonly weight: WeightId;
      readonly firstId: number;
      readonly scale: number;
      readonly out: ValueId;
    }
  /** out = x / sqrt(mean(x^2) + eps) * (weight + weightOffset). A weight narrower than x normalises each run of its width by
   *  itself, as the heads of q and k. */
  | {
      readonly op: 'rmsNorm';
      readonly x: ValueId;
      readonly weight: WeightId;
      readonly eps: number;
      readonly weightOffset: number;
      readonly out: ValueId;
    }
  /** out = x weight^T (+ bias); weight [n, k], bias [n] or null. Neighbours with the same x may run as one. */
  | {
      readonly op: 'linear';
      readonly x: ValueId;
      readonly weight: WeightId;
      readonly bias: WeightId | null;
      readonly out: ValueId;
    }
  /** Rotates `rotaryDim` elements of each head from `rotaryStart` on, with angle position * inverseFrequencies[i] (f32
   *  [rotaryDim / 2]) and cos and sin scaled by `attentionFactor`. Pair i is the elements i and rotaryDim / 2 + i, or, when
   *  `interleaved`, 2 * i and 2 * i + 1. */
  | {
      readonly op: 'rope';
      readonly x: ValueId;
      readonly numHeads: number;
      readonly headDim: number;
      readonly rotaryStart: number;
      readonly rotaryDim: number;
      readonly interleaved: boolean;
      readonly inverseFrequencies: Float32Array;
      readonly attentionFactor: number;
      readonly out: ValueId;
    }
  /** Writes k and v of this step to the cache layer, then attends causally over each sequence's whole context, or over the
   *  last `window` positions, its own included. q [t, numHeads*headDim], k and v [t, numKVHeads*headDim]. K and V are read
   *  back in the cache's type. A score s = scale * q.k with a cap becomes softCap * tanh(s / softCap). */
  | {
      readonly op: 'attention';
      readonly q: ValueId;
      readonly k: ValueId;
      readonly v: ValueId;
      readonly cacheLayer: number;
      readonly numHeads: number;
      readonly numKVHeads: number;
      readonly headDim: number;
      readonly scale: number;
      readonly window: number | null;
      readonly softCap: number | null;
      readonly out: ValueId;
    }
  /** Multi-head latent attention keeps one row per token: `latentDim` elements, from which `weight` (kv_b_proj) makes each
   *  head's key and value, and `ropeDim` rotated ones. The three ops that follow never make those keys and values: the key
   *  part of `weight` is moved to the query side, the value part behind the attention.
   *  weight [numHeads * (nopeDim + valueDim), latentDim], for each head its key rows, then its value rows.
   *  out[h] = [q[h, 0..nopeDim) keyRows[h], q[h, nopeDim..)]; q [t, numHeads * (nopeDim + ropeDim)], out [t, numHeads *
   *  (latentDim + ropeDim)]. */
  | {
      readonly op: 'absorbKey';
      readonly q: ValueId;
      readonly weight: WeightId;
      readonly numHeads: number;
      readonly nopeDim: number;
      readonly ropeDim: number;
      readonly valueDim: number;
      readonly latentDim: number;
      readonly out: ValueId;
    }
  /** Writes [latent, keyRope] of this step to the cache layer, then attends as `attention` does, with these rows as every
   *  head's keys and their latent part as its values. q [t, numHeads * (latentDim + ropeDim)], out [t, numHeads * latentDim]. */
  | {
      readonly op: 'latentAttention';
      readonly q: ValueId;
      readonly latent: ValueId;
      readonly keyRope: ValueId;
      readonly cacheLayer: number;
      readonly numHeads: number;
      readonly latentDim: number;
      readonly ropeDim: number;
      readonly scale: number;
      readonly out: ValueId;
    }
  /** out[h] = valueRows[h] x[h]; x [t, numHeads * latentDim], out [t, numHeads * valueDim]. */
  | {
      readonly op: 'expandValue';
      readonly x: ValueId;
      readonly weight: WeightId;
      readonly numHeads: number;
      readonly nopeDim: number;
      readonly valueDim: number;
      readonly latentDim: number;
      readonly out: ValueId;
    }
  /** Picks `topK` experts for each token. Scores are the softmax of the logits, or the sigmoid of each; the choice is made on
   *  score + correctionBias ([numExperts] or null), among the best `topKGroups` of `numGroups` groups of neighbours, which
   *  their best choice ranks, or the sum of their best two. A chosen expert's weight is its score, divided by the sum of the
   *  chosen when `renormalize`, times `scale`. out [t, 2 * topK], for `experts` to read: ids ascending, then weights. */
  | {
      readonly op: 'route';
      readonly logits: ValueId;
      readonly correctionBias: WeightId | null;
      readonly scoring: 'softmax' | 'sigmoid';
      readonly topK: number;
      readonly numGroups: number;
      readonly topKGroups: number;
      readonly groupScore: 'best' | 'bestTwo';
      readonly renormalize: boolean;
      readonly scale: number;
      readonly out: ValueId;
    }
  /** out = sum over the token's experts, ids ascending, of weight * down(silu(gate x) * up x). `experts` lists those of this
   *  rank, ids ascending, all of one shape: gate and up [inner, width of x], down [width of x, inner]; it may be empty where
   *  others have them. With `spread`, expert i is on the ranks `owners[i]` of the group, ascending: one of them computes its
   *  output for a token, so that all have about as much to do, and all of a token's are added up where the token is, in the
   *  same order. Rank r has the tokens of the source
   *  `sources[r]`, ids from 0 on; ranks of one source have the same x and routes, and StepInput says how many tokens each source
   *  has in a step. Without `spread`, experts that are not listed add nothing. Tokens are counted under `layer`, for
   *  `Program.expertLoads`; null counts none. */
  | {
      readonly op: 'experts';
      readonly x: ValueId;
      readonly routes: ValueId;
      readonly spread: {
        readonly group: string;
        readonly owners: readonly (readonly number[])[];
        readonly sources: readonly number[];
      } | null;
      readonly experts: readonly {
        readonly id: number;
        readonly gate: WeightId;
        readonly up: WeightId;
        readonly down: WeightId;
      }[];
      readonly layer: number | null;
      readonly out: ValueId;
    }
  /** out = silu(gate) * up. */
  | { readonly op: 'siluMul'; readonly gate: ValueId; readonly up: ValueId; readonly out: ValueId }
  /** out = gelu(gate) * up, with the tanh form of gelu. */
  | { readonly op: 'geluTanhMul'; readonly gate: ValueId; readonly up: ValueId; readonly out: ValueId }
  | { readonly op: 'add'; readonly a: ValueId; readonly b: ValueId; readonly out: ValueId }
  /** out[r] = x[rowToken[r]]: keeps the rows whose logits the step asks for. */
  | { readonly op: 'gatherRows'; readonly x: ValueId; readonly out: ValueId }
  /** As linear without bias, over rows; out f32 [numRows, vocab]. With a cap, out becomes softCap * tanh(out / softCap). */
  | {
      readonly op: 'logits';
      readonly x: ValueId;
      readonly weight: WeightId;
      readonly softCap: number | null;
      readonly out: ValueId;
    }
  /** Samples or scores each row (see StepInput rows) and stores sampled ids in the feedback slots of this rank. Logits that an
   *  allGather puts together of what `logits` made of parts of the vocabulary cross ranks only where a row needs them whole;
   *  of other rows what each part would choose crosses. */
  | { readonly op: 'sample'; readonly logits: ValueId }
  /** out = the x of all ranks of `group`, side by side, in the order of ranks; rank r's x is `widths[r]` wide. */
  | {
      readonly op: 'allGather';
      readonly x: ValueId;
      readonly group: string;
      readonly widths: readonly number[];
      readonly out: ValueId;
    }
  /** out = the x of all ranks of `group`, of one width, added up in f32 in a binary tree over ranks, ((0+1)+(2+3))+..., and then
   *  bias (one vector or null). `pick`: in each element at most one rank has bits that are not zero, and out has those. */
  | {
      readonly op: 'allReduce';
      readonly x: ValueId;
      readonly group: string;
      readonly reduction: 'sum' | 'pick';
      readonly bias: WeightId | null;
      readonly out: ValueId;
    }
  /** Sends columns [firstCol, firstCol + width) of a token value as f32 [t, width] to the next stage, under the step's number. */
  | {
      readonly op: 'send';
      readonly x: ValueId;
      readonly firstCol: number;
      readonly width: number;
      readonly peer: string;
    }
  | { readonly op: 'recv'; readonly peer: string; readonly width: number; readonly out: ValueId }
  /** Last stage: sends (slot, id) of the rows just sampled. Every step sends one message, an empty one included. */
  | { readonly op: 'sendTokens'; readonly peer: string }
  /** First stage: takes messages until the one of `feedbackStep` has been stored in the feedback slots. */
  | { readonly op: 'recvTokens'; readonly peer: string };

export interface ProgramLimits {
  /** Most tokens, sequences and logit rows one step may hold; buffers are planned for these. */
  readonly maxTokens: number;
  readonly maxSeqs: number;
  readonly maxRows: number;
  readonly maxModelLen: number;
  readonly maxLogprobs: number;
  /** Feedback slots are 0 .. numSlots-1. */
  readonly numSlots: number;
}

/** Storage type of the KV cache. The one-byte types keep an f32 scale for each token's row of a head, of K and of V; of a latent
 *  row one for the latent part and one for the rotated part. */
export type KVCacheDtype = Dtype | 'f8e4m3' | 'i8';

/** What one layer keeps of each token. `heads`: K and V of every KV head, [numBlocks, 2, numKVHeads, blockSize, headDim].
 *  `latent`: the one row of multi-head latent attention, [numBlocks, blockSize, latentDim + ropeDim]. With scales, those of a
 *  block's rows of a head follow the rows, [1 or 2, blockSize] from the next multiple of 4 bytes on: what a block holds of a
 *  layer is one run of bytes. */
export type KVCacheLayer =
  | { readonly kind: 'heads'; readonly numKVHeads: number; readonly headDim: number }
  | { readonly kind: 'latent'; readonly latentDim: number; readonly ropeDim: number };

export interface KVCacheSpec {
  readonly numBlocks: number;
  readonly blockSize: number;
  readonly dtype: KVCacheDtype;
  /** One entry per attention layer of this rank. */
  readonly layers: readonly KVCacheLayer[];
}

/** Ranks that run the same steps and make values together. Rank r of it is, for `bindSend` and `bindReceive`, the peer
 *  `${name}/${r}`; a channel among them holds more than 256 KiB. A message carries the step and which of the step's exchanges
 *  it is. A run's error names both, and the ranks that had not spoken. */
export interface RankGroup {
  readonly name: string;
  readonly size: number;
  /** This rank's place. */
  readonly rank: number;
}

export interface ProgramSpec {
  readonly vocabSize: number;
  /** Those that ops name. */
  readonly groups: readonly RankGroup[];
  readonly weights: readonly WeightSource[];
  readonly ops: readonly Op[];
  readonly limits: ProgramLimits;
  readonly kvCache: KVCacheSpec;
  /** A folder where packed weights are kept, so that a later start reads instead of repacking; null for none. */
  readonly weightCache: { readonly dir: string } | null;
}

/** What a load did with the weight cache. */
export interface WeightCacheUse {
  /** The file of this program's weights. */
  readonly path: string;
  readonly read: boolean;
  readonly written: boolean;
  /** Why the file that was there was not taken, or could not be written; the weights are loaded either way. */
  readonly problem: string | null;
}

/** What a rank's experts of a layer have computed since the program was created. */
export interface ExpertLoad {
  readonly layer: number;
  /** Of this rank's experts, ascending. */
  readonly ids: Uint32Array;
  /** By place in `ids`: pairs of a token and that expert. */
  readonly tokens: Float64Array;
}

export interface ProgramMemory {
  readonly weightBytes: number;
  readonly kvCacheBytes: number;
  readonly bufferBytes: number;
}

/** A device with its threads. `threads` compute threads share one run at a time; they spin briefly, then sleep. */
export interface Device {
  readonly backend: 'cpu';
  /** The instruction level in use, e.g. 'AVX3' or 'AVX2'; part of the fingerprint. */
  readonly instructionLevel: string;
  readonly threads: number;
  /** Says which of the `total` compute threads on this host are this device's: `first` and those after it. Where there is one for
   *  each processor that this process may use, each is bound to its own for as long as it hardly waits for it; else, and with
   *  null, they run anywhere. Returns whether there is one for each. */
  shareProcessors(share: { readonly first: number; readonly total: number } | null): boolean;
  close(): void;
}

/** A recorded program bound to weights and a KV pool. `run`s are queued and executed one after another, in call order, on
 *  a thread of its own; the JS thread only packs inputs and unpacks outputs. */
export interface Program {
  readonly memory: ProgramMemory;
  /** Reads and packs the weights, on all threads. `onProgress(bytesDone, bytesTotal)` is called at most every 100 ms. */
  load(onProgress: ((bytesDone: number, bytesTotal: number) => void) | null): Promise<void>;
  /** Null before the weights are loaded, or without a cache. */
  readonly weightCacheUse: WeightCacheUse | null;
  /** Connects a peer name of send/recv ops to a channel of the transport; replaces an earlier binding. */
  bindSend(peer: string, channel: SendChannel): void;
  bindReceive(peer: string, channel: ReceiveChannel): void;
  /** Runs one step. `input` is packed by `packStepInput`; it is copied before the call returns. Rejects with
   *  code 'ERR_STEP_INPUT' (bad input; nothing ran), 'ERR_STEP_DEADLINE', 'ERR_PEER_LOST', 'ERR_ABORTED'. */
  run(input: Int32Array, deadlineMs: number): Promise<RawStepOutput>;
  /** Fails the running step and all queued ones with ERR_ABORTED, soon. Later `run`s work again. */
  abort(): void;
  /** Forgets feedback state (a new epoch). Only while nothing runs. */
  reset(): void;
  /** Whether runs called from now on keep the logits of all their rows, for `lastLogits`. Without, logits are written only for
   *  rows that need them whole (top_p, min_p, a top_k above 64, logit rules, logprobs); sampled ids are the same. All ranks of
   *  a group alike. For tests. */
  keepLogits(keep: boolean): void;
  /** Logits of the last finished run, f32 [numRows, vocab]. Null before any, when it kept none, or without a logits op. */
  lastLogits(): Float32Array | null;
  /** Of every `experts` op with a layer, in their order; a running step may be in them in part. Each pair is computed, and
   *  counted, on one rank. None once closed. */
  expertLoads(): ExpertLoad[];
  /** Frees everything; a running step is aborted first. Safe at any time, also twice. */
  close(): void;
}

export interface RawStepOutput {
  /** Packed words of `StepOutput` (see step-io.ts); empty unless the program samples. */
  readonly words: Int32Array;
  readonly computeUs: number;
  /** Time inside recv and recvTokens, waiting. */
  readonly waitUs: number;
}

export interface ChannelCounters {
  readonly transport: 'shm' | 'tcp';
  readonly bytes: number;
  readonly messages: number;
}

/** One direction between two ranks; messages carry the step's number, arrive in order, once. Used by a Program's own
 *  thread; `test*` methods exist so that a channel can be exercised alone. */
export interface SendChannel {
  counters(): ChannelCounters;
  testSend(step: number, data: Uint8Array, deadlineMs: number): Promise<void>;
  /** Fails a blocked and every later operation with ERR_PEER_LOST and this reason. */
  fail(reason: string): void;
  close(): void;
}

export interface ReceiveChannel {
  /** Opaque bytes (at most 4 KiB) that the sending side needs; hand them over the bus. */
  descriptor(): Uint8Array;
  counters(): ChannelCounters;
  testReceive(deadlineMs: number): Promise<{ readonly step: number; readonly data: Uint8Array }>;
  fail(reason: string): void;
  close(): void;
}

/** Moves bytes between ranks. One per rank process. 'shm' serves ranks of one host, 'tcp' (UCX) all others. */
export interface Transport {
  /** Null when UCX can be used; else why it cannot ('libucp.so.0 was not found …'). */
  readonly ucxUnavailable: string | null;
  openReceive(options: {
    readonly name: string;
    readonly transport: 'shm' | 'tcp';
    readonly capacityBytes: number;
  }): ReceiveChannel;
  openSend(options: {
    readonly name: string;
    readonly transport: 'shm' | 'tcp';
    readonly descriptor: Uint8Array;
    readonly deadlineMs: number;
  }): Promise<SendChannel>;
  close(): void;
}

export interface NativeAddon {
  createDevice(options: { readonly backend: 'cpu'; readonly threads: number }): Device;
  createProgram(device: Device, spec: ProgramSpec): Program;
  /** `interfaceName` confines UCX to one network interface; null lets UCX choose among all that are up. `prefersIpv6`: of an
   *  interface with addresses of both families it takes that of IPv6, in this and every later transport of the process. */
  createTransport(options: { readonly interfaceName: string | null; readonly prefersIpv6: boolean }): Transport;
  /** Medians of repeated measurements over `seconds` with `threads` threads: f32 FMA rate, read rate, and the rates of 4-bit
   *  and 8-bit integer weights times 8-bit activations (two operations a product). */
  measureCeilings(options: {
    readonly threads: number;
    readonly seconds: number;
    readonly readBytes: number;
  }): Promise<{
    readonly fmaGflops: number;
    readonly readGBps: number;
    readonly int4Gops: number;
    readonly int8Gops: number;
  }>;
}
