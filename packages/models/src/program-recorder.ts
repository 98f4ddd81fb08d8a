import type { Op, RankGroup, ValueId, WeightId, WeightSource } from '@skein/native';
import { continueTree } from './column-slices.ts';
import type { ExpertPlacement } from './expert-placement.ts';
import {
  ALONE,
  evenSlices,
  EXPERT_GROUP,
  type ReplicaPlace,
  rowSlices,
  type Slice,
  TENSOR_GROUP,
  type TensorPlace,
  WHOLE,
} from './tensor-shard.ts';

/** What a parameter is there for, which decides how it may be quantized: `latentUp` makes keys and values of latents,
 *  `router` picks experts, `head` makes logits. */
export type ParameterKind = 'matrix' | 'latentUp' | 'router' | 'embedding' | 'head' | 'vector';

export interface Parameter {
  /** The module's name and `weight` or `bias`. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly kind: ParameterKind;
}

export interface FoundParameter extends Pick<WeightSource, 'stored' | 'quantize'> {
  /** Tensors of the checkpoint that belong to it, those that nothing computes with included. */
  readonly tensorNames: Iterable<string>;
}

/** Finds how a parameter is stored. Throws CheckpointError when there is none of that name and shape. */
export type ParameterSource = (parameter: Parameter) => FoundParameter;

export interface NormOptions {
  readonly eps: number;
  /** Added to the weight: 1 where a checkpoint stores how far the factor is from 1. */
  readonly weightOffset: number;
}

export interface LinearOptions {
  readonly width: number;
  readonly bias: boolean;
  /** The output's rows, `width` from `first` on, of a weight of `of` rows that serves several outputs; null for all. */
  readonly rows?: { readonly first: number; readonly of: number } | null;
  readonly kind?: 'matrix' | 'router';
}

/** A linear of an input that is spread over the ranks. */
export interface MergeLinearOptions extends Pick<LinearOptions, 'width' | 'bias'> {
  /** Columns of the input that each rank has, side by side in the order of ranks. */
  readonly widths: readonly number[];
}

export interface LogitsOptions {
  readonly weightName: string;
  /** `embedding` where the head is the embedding. */
  readonly kind: 'head' | 'embedding';
  readonly vocabSize: number;
  readonly softCap: number | null;
}

type RopeFields = Omit<Extract<Op, { op: 'rope' }>, 'op' | 'x' | 'out'>;

/** Unless said otherwise, pairs start at a head's first element, and are half a rotation apart where the parameters are as
 *  published. */
export type RopeOptions = Omit<RopeFields, 'rotaryStart' | 'interleaved'> &
  Partial<Pick<RopeFields, 'rotaryStart' | 'interleaved'>>;

/** Sizes of the heads of multi-head latent attention. */
export type LatentHeads = Pick<
  Extract<Op, { op: 'absorbKey' }>,
  'numHeads' | 'nopeDim' | 'ropeDim' | 'valueDim' | 'latentDim'
>;

/** Heads of a rank, and where they stand in a weight that has those of all. */
export interface LatentHeadSlice extends LatentHeads {
  readonly firstHead: number;
  readonly allHeads: number;
}

export type RouteOptions = Omit<Extract<Op, { op: 'route' }>, 'op' | 'logits' | 'correctionBias' | 'out'> & {
  readonly correctionBias: string | null;
};

export interface ExpertsOptions {
  readonly innerSize: number;
  /** Of the model, where their tokens are to be counted. */
  readonly layer: number | null;
  readonly experts: readonly {
    readonly id: number;
    readonly gate: string;
    readonly up: string;
    readonly down: string;
  }[];
}

/** How a checkpoint's parameters differ from those that Hugging Face publishes. */
export interface ParameterForm {
  /** The rows of q and k are in an order in which elements 2i and 2i + 1 of a head turn together. */
  readonly interleavedRope: boolean;
  /** Norms store the factor itself, also where a family says that they store how far it is from 1. */
  readonly wholeNorms: boolean;
}

/** Reads like the model's forward pass and writes down the operations of one rank. Parameters are named as in the checkpoint.
 *  The residual stream and what decides for all ranks (norms, routers, latents) is the same on every rank; heads, inner
 *  columns of feed-forwards, experts and the vocabulary are spread over them. A sum over columns is made of whole
 *  partial sums of each rank, added in the tree in which one rank adds them, or else by one rank from all columns: its bits are
 *  those of a rank that has the whole model. */
export class ProgramRecorder {
  /** Which of the ranks that share these layers records. */
  readonly tensor: TensorPlace;
  /** Which of the replicas that share their experts. */
  readonly #replica: ReplicaPlace;
  readonly #placements: readonly ExpertPlacement[];
  readonly ops: Op[] = [];
  readonly weights: WeightSource[] = [];
  /** Of each block of a layer, in order: its own `weights`. */
  readonly blocks: Slice[] = [];
  /** Names of the checkpoint's tensors that are used, whole or in part. */
  readonly usedTensors = new Set<string>();
  readonly #parameters: ParameterSource;
  readonly #weightIds = new Map<string, WeightId>();
  /** Width of each value. */
  readonly #widths: number[] = [];
  #form: ParameterForm = { interleavedRope: false, wholeNorms: false };

  /** @param placements where experts are; those of layers that are not among them lie in runs. */
  constructor(
    parameters: ParameterSource,
    tensor: TensorPlace = WHOLE,
    replica: ReplicaPlace = ALONE,
    placements: readonly ExpertPlacement[] = [],
  ) {
    this.#parameters = parameters;
    this.tensor = tensor;
    this.#replica = replica;
    this.#placements = placements;
  }

  /** Groups that the recorded operations name. */
  get groups(): readonly RankGroup[] {
    const { rank, size } = this.tensor;
    const { index, count } = this.#replica;
    return [
      ...(size > 1 ? [{ name: TENSOR_GROUP, rank, size }] : []),
      ...(count > 1 ? [{ name: EXPERT_GROUP, rank: index * size + rank, size: count * size }] : []),
    ];
  }

  /** This rank's part of what every rank has a part of. */
  own<T>(parts: readonly T[]): T {
    const part = parts[this.tensor.rank];
    if (part === undefined) throw new RangeError(`rank ${this.tensor.rank} has none of ${parts.length} parts`);
    return part;
  }

  /** What is recorded from here on reads parameters of this form. */
  storedAs(form: ParameterForm): void {
    this.#form = form;
  }

  /** Records a block of a layer. */
  block(record: () => ValueId): ValueId {
    const first = this.weights.length;
    const x = record();
    this.blocks.push({ first, count: this.weights.length - first });
    return x;
  }

  embed(weightName: string, options: { readonly vocabSize: number; readonly width: number; readonly scale: number }) {
    const { vocabSize, width, scale } = options;
    const { rows } = this.#vocabulary(vocabSize);
    const weight = this.#weight({ name: weightName, shape: [vocabSize, width], kind: 'embedding' }, { rows });
    const x = this.#push(width, (out) => ({ op: 'embed', weight, firstId: rows.first, scale, out }));
    if (this.tensor.size === 1) return x;
    // Of each token one rank has the row, and the others have zeros.
    return this.#push(width, (out) => ({
      op: 'allReduce',
      x,
      group: TENSOR_GROUP,
      reduction: 'pick',
      bias: null,
      out,
    }));
  }

  rmsNorm(x: ValueId, weightName: string, norm: NormOptions): ValueId {
    return this.rmsNormHeads(x, weightName, { ...norm, headDim: this.width(x) });
  }

  /** Normalises each head of x by itself. */
  rmsNormHeads(x: ValueId, weightName: string, options: NormOptions & { readonly headDim: number }): ValueId {
    const { eps, headDim } = options;
    const weightOffset = this.#form.wholeNorms ? 0 : options.weightOffset;
    const weight = this.#weight({ name: weightName, shape: [headDim], kind: 'vector' });
    return this.#push(this.width(x), (out) => ({ op: 'rmsNorm', x, weight, eps, weightOffset, out }));
  }

  /** `name` is the module's: its parameters are `name.weight` and, with a bias, `name.bias`. */
  linear(x: ValueId, name: string, options: LinearOptions): ValueId {
    const { width, bias: hasBias, rows = null, kind = 'matrix' } = options;
    const part = rows === null ? {} : { rows: { first: rows.first, count: width } };
    const allRows = rows?.of ?? width;
    const weight = this.#weight({ name: `${name}.weight`, shape: [allRows, this.width(x)], kind }, part);
    const bias = hasBias ? this.#weight({ name: `${name}.bias`, shape: [allRows], kind: 'vector' }, part) : null;
    return this.#push(width, (out) => ({ op: 'linear', x, weight, bias, out }));
  }

  /** The whole output, on every rank. Each multiplies the columns that it has, where these are whole partial sums; else it gets
   *  all of the input and computes some of the rows. */
  mergeLinear(x: ValueId, name: string, { widths, width, bias }: MergeLinearOptions): ValueId {
    if (this.tensor.size === 1) return this.linear(x, name, { width, bias });
    const cols = widths.reduce((sum, part) => sum + part, 0);
    const parameter: Parameter = { name: `${name}.weight`, shape: [width, cols], kind: 'matrix' };
    if (continueTree(widths, this.#parameters(parameter))) {
      const count = this.width(x);
      const weight = this.#weight(parameter, { cols: { first: this.tensor.rank * count, count } });
      const sum = this.#push(width, (out) => ({ op: 'linear', x, weight, bias: null, out }));
      const biasId = bias ? this.#weight({ name: `${name}.bias`, shape: [width], kind: 'vector' }) : null;
      return this.#push(width, (out) => ({
        op: 'allReduce',
        x: sum,
        group: TENSOR_GROUP,
        reduction: 'sum',
        bias: biasId,
        out,
      }));
    }
    const slices = rowSlices(width, this.tensor.size, name);
    const { first, count } = this.own(slices);
    const part = this.linear(this.#allGather(x, widths), name, { width: count, bias, rows: { first, of: width } });
    return this.#allGather(part, countsOf(slices));
  }

  rope(x: ValueId, options: RopeOptions): ValueId {
    const { interleavedRope: interleaved } = this.#form;
    return this.#push(this.width(x), (out) => ({ op: 'rope', x, rotaryStart: 0, interleaved, ...options, out }));
  }

  attention(input: Omit<Extract<Op, { op: 'attention' }>, 'op' | 'out'>): ValueId {
    return this.#push(input.numHeads * input.headDim, (out) => ({ op: 'attention', ...input, out }));
  }

  /** `weightName` is kv_b_proj's weight, here and in expandValue. */
  absorbKey(q: ValueId, weightName: string, heads: LatentHeadSlice): ValueId {
    const { numHeads, nopeDim, ropeDim, valueDim, latentDim } = heads;
    const weight = this.#latentUp(weightName, heads);
    return this.#push(numHeads * (latentDim + ropeDim), (out) => ({
      op: 'absorbKey',
      q,
      weight,
      numHeads,
      nopeDim,
      ropeDim,
      valueDim,
      latentDim,
      out,
    }));
  }

  latentAttention(input: Omit<Extract<Op, { op: 'latentAttention' }>, 'op' | 'out'>): ValueId {
    return this.#push(input.numHeads * input.latentDim, (out) => ({ op: 'latentAttention', ...input, out }));
  }

  expandValue(x: ValueId, weightName: string, heads: LatentHeadSlice): ValueId {
    const { numHeads, nopeDim, valueDim, latentDim } = heads;
    const weight = this.#latentUp(weightName, heads);
    return this.#push(numHeads * valueDim, (out) => ({
      op: 'expandValue',
      x,
      weight,
      numHeads,
      nopeDim,
      valueDim,
      latentDim,
      out,
    }));
  }

  /** `correctionBias` names its parameter, or is null. */
  route(logits: ValueId, { correctionBias, ...routing }: RouteOptions): ValueId {
    const bias =
      correctionBias === null
        ? null
        : this.#weight({ name: correctionBias, shape: [this.width(logits)], kind: 'vector' });
    return this.#push(2 * routing.topK, (out) => ({ op: 'route', logits, correctionBias: bias, ...routing, out }));
  }

  /** All experts, ids from 0 on; each names its three weights. A rank has some of them. */
  experts(x: ValueId, routes: ValueId, { innerSize, layer, experts }: ExpertsOptions): ValueId {
    const width = this.width(x);
    const matrix = (name: string, shape: readonly number[]) => this.#weight({ name, shape, kind: 'matrix' });
    const group = this.groups.at(-1) ?? { name: '', ...WHOLE };
    const placed = this.#placements.find((placement) => placement.layer === layer)?.owners;
    const owners =
      placed ??
      evenSlices(experts.length, group.size).flatMap(({ count }, rank) => Array<number[]>(count).fill([rank]));
    const spread =
      group.size === 1
        ? null
        : {
            group: group.name,
            owners,
            sources: Array.from({ length: group.size }, (_, rank) => Math.floor(rank / this.tensor.size)),
          };
    const recorded = experts
      .filter(({ id }) => owners[id]?.includes(group.rank))
      .map(({ id, gate, up, down }) => ({
        id,
        gate: matrix(gate, [innerSize, width]),
        up: matrix(up, [innerSize, width]),
        down: matrix(down, [width, innerSize]),
      }));
    return this.#push(width, (out) => ({ op: 'experts', x, routes, spread, experts: recorded, layer, out }));
  }

  /** act(gate) * up. */
  gatedMul(activation: GatedActivation, gate: ValueId, up: ValueId): ValueId {
    return this.#push(this.width(gate), (out) => ({ op: `${activation}Mul`, gate, up, out }));
  }

  add(a: ValueId, b: ValueId): ValueId {
    return this.#push(this.width(a), (out) => ({ op: 'add', a, b, out }));
  }

  /** From here on values have one row per logit row. */
  gatherRows(x: ValueId): ValueId {
    return this.#push(this.width(x), (out) => ({ op: 'gatherRows', x, out }));
  }

  logits(x: ValueId, options: LogitsOptions): ValueId {
    const { weightName: name, kind, vocabSize, softCap } = options;
    const { slices, rows } = this.#vocabulary(vocabSize);
    const weight = this.#weight({ name, kind, shape: [vocabSize, this.width(x)] }, { rows });
    const part = this.#push(rows.count, (out) => ({ op: 'logits', x, weight, softCap, out }));
    return this.tensor.size === 1 ? part : this.#allGather(part, countsOf(slices));
  }

  sample(logits: ValueId): void {
    this.ops.push({ op: 'sample', logits });
  }

  /** Hands a value that all ranks of this stage have to those of the next: each sends a part of the columns to the rank
   *  that has its place there. */
  send(x: ValueId, peer: string): void {
    const { first: firstCol, count: width } = this.own(this.#columns(this.width(x)));
    this.ops.push({ op: 'send', x, firstCol, width, peer });
  }

  /** What the stage before sent, whole on every rank. */
  recv(peer: string, width: number): ValueId {
    const slices = this.#columns(width);
    const own = this.own(slices).count;
    const part = this.#push(own, (out) => ({ op: 'recv', peer, width: own, out }));
    return this.tensor.size === 1 ? part : this.#allGather(part, countsOf(slices));
  }

  sendTokens(peer: string): void {
    this.ops.push({ op: 'sendTokens', peer });
  }

  recvTokens(peer: string): void {
    this.ops.push({ op: 'recvTokens', peer });
  }

  /** The parts of all ranks, side by side. */
  #allGather(x: ValueId, widths: readonly number[]): ValueId {
    const width = widths.reduce((sum, part) => sum + part, 0);
    return this.#push(width, (out) => ({ op: 'allGather', x, group: TENSOR_GROUP, widths, out }));
  }

  #columns(width: number): readonly Slice[] {
    return rowSlices(width, this.tensor.size, 'the residual stream');
  }

  #vocabulary(vocabSize: number): { readonly slices: readonly Slice[]; readonly rows: Slice } {
    const slices = rowSlices(vocabSize, this.tensor.size, 'the vocabulary');
    return { slices, rows: this.own(slices) };
  }

  #push(width: number, op: (out: ValueId) => Op): ValueId {
    const out = this.#widths.push(width) - 1;
    this.ops.push(op(out));
    return out;
  }

  /** Width of a value that was recorded. */
  width(x: ValueId): number {
    const width = this.#widths[x];
    if (width === undefined) throw new RangeError(`value ${x} was never recorded`);
    return width;
  }

  #latentUp(name: string, heads: LatentHeadSlice): WeightId {
    const { numHeads, firstHead, allHeads, nopeDim, valueDim, latentDim } = heads;
    const rows = nopeDim + valueDim;
    return this.#weight(
      { name, shape: [allHeads * rows, latentDim], kind: 'latentUp' },
      { rows: { first: firstHead * rows, count: numHeads * rows } },
    );
  }

  /** @param part what of the parameter becomes the weight; all where nothing is said. */
  #weight(parameter: Parameter, part: { readonly rows?: Slice; readonly cols?: Slice } = {}): WeightId {
    const { name, shape } = parameter;
    const rows = part.rows ?? { first: 0, count: shape[0] ?? 0 };
    const id = name + sliceText(rows, shape[0]) + (part.cols ? `[:,${part.cols.first}:+${part.cols.count}]` : '');
    const known = this.#weightIds.get(id);
    if (known !== undefined) return known;
    if (rows.first < 0 || rows.first + rows.count > (shape[0] ?? 0))
      throw new RangeError(`${id} is not within the ${shape[0]} rows`);
    const { stored, quantize, tensorNames } = this.#parameters(parameter);
    for (const tensorName of tensorNames) this.usedTensors.add(tensorName);
    const cols = part.cols ?? { first: 0, count: shape[1] ?? 0 };
    const weight =
      this.weights.push({
        name: id,
        shape: shape.length === 1 ? [rows.count] : [rows.count, cols.count],
        stored,
        firstRow: rows.first,
        firstCol: cols.first,
        quantize,
      }) - 1;
    this.#weightIds.set(id, weight);
    return weight;
  }
}

function sliceText({ first, count }: Slice, of: number | undefined): string {
  return count === of ? '' : `[${first}:${first + count}]`;
}

export type GatedActivation = 'silu' | 'geluTanh';

function countsOf(slices: readonly Slice[]): number[] {
  return slices.map(({ count }) => count);
}
