import type { Op, ValueId, WeightId, WeightSource } from '@skein/native';

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

/** How a checkpoint's parameters differ from those that Hugging Face publishes. */
export interface ParameterForm {
  /** The rows of q and k are in an order in which elements 2i and 2i + 1 of a head turn together. */
  readonly interleavedRope: boolean;
  /** Norms store the factor itself, also where a family says that they store how far it is from 1. */
  readonly wholeNorms: boolean;
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
  #form: ParameterForm = { interleavedRope: false, wholeNorms: false };

  constructor(parameters: ParameterSource) {
    this.#parameters = parameters;
  }

  /** What is recorded from here on reads parameters of this form. */
  storedAs(form: ParameterForm): void {
    this.#form = form;
  }

  embed(weightName: string, options: { readonly vocabSize: number; readonly width: number; readonly scale: number }) {
    const { vocabSize, width, scale } = options;
    const weight = this.#weight({ name: weightName, shape: [vocabSize, width], kind: 'embedding' });
    return this.#push(width, (out) => ({ op: 'embed', weight, firstId: 0, scale, out }));
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
    const part = rows === null ? null : { first: rows.first, count: width };
    const allRows = rows?.of ?? width;
    const weight = this.#weight({ name: `${name}.weight`, shape: [allRows, this.width(x)], kind }, part);
    const bias = hasBias ? this.#weight({ name: `${name}.bias`, shape: [allRows], kind: 'vector' }, part) : null;
    return this.#push(width, (out) => ({ op: 'linear', x, weight, bias, out }));
  }

  rope(x: ValueId, options: RopeOptions): ValueId {
    const { interleavedRope: interleaved } = this.#form;
    return this.#push(this.width(x), (out) => ({ op: 'rope', x, rotaryStart: 0, interleaved, ...options, out }));
  }

  attention(input: Omit<Extract<Op, { op: 'attention' }>, 'op' | 'out'>): ValueId {
    return this.#push(input.numHeads * input.headDim, (out) => ({ op: 'attention', ...input, out }));
  }

  /** `weightName` is kv_b_proj's weight, here and in expandValue. */
  absorbKey(q: ValueId, weightName: string, { numHeads, nopeDim, ropeDim, valueDim, latentDim }: LatentHeads): ValueId {
    const weight = this.#latentUp(weightName, numHeads * (nopeDim + valueDim), latentDim);
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
    const weight = this.#latentUp(weightName, numHeads * (nopeDim + valueDim), latentDim);
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

  /** The experts of this rank, ids ascending; each names its three weights. */
  experts(x: ValueId, routes: ValueId, { innerSize, experts }: ExpertsOptions): ValueId {
    const width = this.width(x);
    const matrix = (name: string, shape: readonly number[]) => this.#weight({ name, shape, kind: 'matrix' });
    const recorded = experts.map(({ id, gate, up, down }) => ({
      id,
      gate: matrix(gate, [innerSize, width]),
      up: matrix(up, [innerSize, width]),
      down: matrix(down, [width, innerSize]),
    }));
    return this.#push(width, (out) => ({ op: 'experts', x, routes, spread: null, experts: recorded, out }));
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
    const weight = this.#weight({ name, kind, shape: [vocabSize, this.width(x)] });
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

  #latentUp(name: string, rows: number, cols: number): WeightId {
    return this.#weight({ name, shape: [rows, cols], kind: 'latentUp' });
  }

  /** @param part rows of the parameter that become the weight; null for all. */
  #weight(parameter: Parameter, part: RowRange | null = null): WeightId {
    const { name, shape } = parameter;
    const id = part === null ? name : `${name}[${part.first}:${part.first + part.count}]`;
    const known = this.#weightIds.get(id);
    if (known !== undefined) return known;
    const { first, count } = part ?? { first: 0, count: shape[0] ?? 0 };
    if (first < 0 || first + count > (shape[0] ?? 0)) throw new RangeError(`${id} is not within the ${shape[0]} rows`);
    const { stored, quantize, tensorNames } = this.#parameters(parameter);
    for (const tensorName of tensorNames) this.usedTensors.add(tensorName);
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
