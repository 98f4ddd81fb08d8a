import type { Op, TensorSource, ValueId, WeightId, WeightSource } from '@skein/native';
import { CheckpointError } from './errors.ts';
import { storedTensors } from './stored-weight.ts';

/** Gives how a parameter is stored. Throws CheckpointError when there is none of that name and shape. */
export type ParameterSource = (name: string, shape: readonly number[]) => Pick<WeightSource, 'stored' | 'quantize'>;

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
}

type RopeFields = Omit<Extract<Op, { op: 'rope' }>, 'op' | 'x' | 'out'>;

/** Unless said otherwise, pairs are half a rotation apart and start at a head's first element. */
export type RopeOptions = Omit<RopeFields, 'rotaryStart' | 'interleaved'> &
  Partial<Pick<RopeFields, 'rotaryStart' | 'interleaved'>>;

/** Sizes of the heads of multi-head latent attention. */
export type LatentHeads = Pick<
  Extract<Op, { op: 'absorbKey' }>,
  'numHeads' | 'nopeDim' | 'ropeDim' | 'valueDim' | 'latentDim'
>;

export type RouteOptions = Omit<Extract<Op, { op: 'route' }>, 'op' | 'logits' | 'correctionBias' | 'out'> & {
  readonly correctionBias: string | null;
};

export interface ExpertsOptions {
  readonly innerSize: number;
  readonly experts: readonly {
    readonly id: number;
    readonly gate: string;
    readonly up: string;
    readonly down: string;
  }[];
}

/** Reads like the model's forward pass and writes down its operations. Parameters are named as in the checkpoint. */
export class ProgramRecorder {
  readonly ops: Op[] = [];
  readonly weights: WeightSource[] = [];
  /** Names of the checkpoint's tensors that are used, whole or in part. */
  readonly usedTensors = new Set<string>();
  readonly #parameters: ParameterSource;
  readonly #weightIds = new Map<string, WeightId>();
  /** Width of each value. */
  readonly #widths: number[] = [];

  constructor(parameters: ParameterSource) {
    this.#parameters = parameters;
  }

  embed(weightName: string, options: { readonly vocabSize: number; readonly width: number; readonly scale: number }) {
    const { vocabSize, width, scale } = options;
    const weight = this.#weight(weightName, [vocabSize, width]);
    return this.#push(width, (out) => ({ op: 'embed', weight, scale, out }));
  }

  rmsNorm(x: ValueId, weightName: string, norm: NormOptions): ValueId {
    return this.rmsNormHeads(x, weightName, { ...norm, headDim: this.width(x) });
  }

  /** Normalises each head of x by itself. */
  rmsNormHeads(x: ValueId, weightName: string, options: NormOptions & { readonly headDim: number }): ValueId {
    const { eps, weightOffset, headDim } = options;
    const weight = this.#weight(weightName, [headDim]);
    return this.#push(this.width(x), (out) => ({ op: 'rmsNorm', x, weight, eps, weightOffset, out }));
  }

  /** `name` is the module's: its parameters are `name.weight` and, with a bias, `name.bias`. */
  linear(x: ValueId, name: string, { width, bias: hasBias, rows = null }: LinearOptions): ValueId {
    const part = rows === null ? null : { first: rows.first, count: width };
    const allRows = rows?.of ?? width;
    const weight = this.#weight(`${name}.weight`, [allRows, this.width(x)], part);
    const bias = hasBias ? this.#weight(`${name}.bias`, [allRows], part) : null;
    return this.#push(width, (out) => ({ op: 'linear', x, weight, bias, out }));
  }

  rope(x: ValueId, options: RopeOptions): ValueId {
    return this.#push(this.width(x), (out) => ({ op: 'rope', x, rotaryStart: 0, interleaved: false, ...options, out }));
  }

  attention(input: Omit<Extract<Op, { op: 'attention' }>, 'op' | 'out'>): ValueId {
    return this.#push(input.numHeads * input.headDim, (out) => ({ op: 'attention', ...input, out }));
  }

  /** `weightName` is kv_b_proj's weight, here and in expandValue. */
  absorbKey(q: ValueId, weightName: string, { numHeads, nopeDim, ropeDim, valueDim, latentDim }: LatentHeads): ValueId {
    const weight = this.#weight(weightName, [numHeads * (nopeDim + valueDim), latentDim]);
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

  expandValue(x: ValueId, weightName: string, { numHeads, nopeDim, valueDim, latentDim }: LatentHeads): ValueId {
    const weight = this.#weight(weightName, [numHeads * (nopeDim + valueDim), latentDim]);
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
    const bias = correctionBias === null ? null : this.#weight(correctionBias, [this.width(logits)]);
    return this.#push(2 * routing.topK, (out) => ({ op: 'route', logits, correctionBias: bias, ...routing, out }));
  }

  /** The experts of this rank, ids ascending; each names its three weights. */
  experts(x: ValueId, routes: ValueId, { innerSize, experts }: ExpertsOptions): ValueId {
    const width = this.width(x);
    const recorded = experts.map(({ id, gate, up, down }) => ({
      id,
      gate: this.#weight(gate, [innerSize, width]),
      up: this.#weight(up, [innerSize, width]),
      down: this.#weight(down, [width, innerSize]),
    }));
    return this.#push(width, (out) => ({ op: 'experts', x, routes, experts: recorded, out }));
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

  logits(x: ValueId, weightName: string, options: { readonly vocabSize: number; readonly softCap: number | null }) {
    const { vocabSize, softCap } = options;
    const weight = this.#weight(weightName, [vocabSize, this.width(x)]);
    return this.#push(vocabSize, (out) => ({ op: 'logits', x, weight, softCap, out }));
  }

  sample(logits: ValueId): void {
    this.ops.push({ op: 'sample', logits });
  }

  send(x: ValueId, peer: string): void {
    this.ops.push({ op: 'send', x, peer });
  }

  recv(peer: string, width: number): ValueId {
    return this.#push(width, (out) => ({ op: 'recv', peer, width, out }));
  }

  sendTokens(peer: string): void {
    this.ops.push({ op: 'sendTokens', peer });
  }

  recvTokens(peer: string): void {
    this.ops.push({ op: 'recvTokens', peer });
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

  /** @param part rows of the parameter that become the weight; null for all. */
  #weight(name: string, shape: readonly number[], part: RowRange | null = null): WeightId {
    const id = part === null ? name : `${name}[${part.first}:${part.first + part.count}]`;
    const known = this.#weightIds.get(id);
    if (known !== undefined) return known;
    const { first, count } = part ?? { first: 0, count: shape[0] ?? 0 };
    if (first < 0 || first + count > (shape[0] ?? 0)) throw new RangeError(`${id} is not within the ${shape[0]} rows`);
    const { stored, quantize } = this.#parameters(name, shape);
    for (const tensor of storedTensors(stored)) this.usedTensors.add(tensor.name);
    const taken = [count, ...shape.slice(1)];
    const weight = this.weights.push({ name: id, shape: taken, stored, firstRow: first, quantize }) - 1;
    this.#weightIds.set(id, weight);
    return weight;
  }
}

export type GatedActivation = 'silu' | 'geluTanh';

interface RowRange {
  readonly first: number;
  readonly count: number;
}

/** Parameters of a checkpoint, by name. */
export function checkpointParameters(tensors: ReadonlyMap<string, TensorSource>): ParameterSource {
  return (name, shape) => {
    const tensor = tensors.get(name);
    if (tensor === undefined) {
      throw new CheckpointError(
        `the checkpoint lacks tensor ${name} [${shape.join(', ')}]; config.json and weights do not belong together`,
        { details: { name, shape } },
      );
    }
    if (tensor.shape.length !== shape.length || tensor.shape.some((n, i) => n !== shape[i])) {
      throw new CheckpointError(
        `${tensor.file}: tensor ${name} has shape [${tensor.shape.join(', ')}]; config.json calls for [${shape.join(', ')}]`,
        { details: { name, shape: tensor.shape, wanted: shape } },
      );
    }
    return { stored: { format: 'plain', tensor }, quantize: null };
  };
}
