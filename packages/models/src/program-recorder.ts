import type { Op, TensorSource, ValueId, WeightId } from '@skein/native';
import { CheckpointError } from './errors.ts';

/** Reads like the model's forward pass and writes down its operations. Parameters are named as in the checkpoint; one that
 *  is missing or has another shape throws CheckpointError by name. */
export class ProgramRecorder {
  readonly ops: Op[] = [];
  readonly weights: TensorSource[] = [];
  readonly #tensors: ReadonlyMap<string, TensorSource>;
  readonly #weightIds = new Map<string, WeightId>();
  /** Width of each value. */
  readonly #widths: number[] = [];

  /** @param tensors all tensors of the checkpoint; only those that are recorded become weights. */
  constructor(tensors: ReadonlyMap<string, TensorSource>) {
    this.#tensors = tensors;
  }

  embed(weightName: string, vocabSize: number, width: number): ValueId {
    const weight = this.#parameter(weightName, [vocabSize, width]);
    return this.#push(width, (out) => ({ op: 'embed', weight, out }));
  }

  rmsNorm(x: ValueId, weightName: string, eps: number): ValueId {
    const width = this.width(x);
    const weight = this.#parameter(weightName, [width]);
    return this.#push(width, (out) => ({ op: 'rmsNorm', x, weight, eps, out }));
  }

  /** `name` is the module's: its parameters are `name.weight` and, with a bias, `name.bias`. */
  linear(x: ValueId, name: string, options: { readonly width: number; readonly bias: boolean }): ValueId {
    const weight = this.#parameter(`${name}.weight`, [options.width, this.width(x)]);
    const bias = options.bias ? this.#parameter(`${name}.bias`, [options.width]) : null;
    return this.#push(options.width, (out) => ({ op: 'linear', x, weight, bias, out }));
  }

  rope(x: ValueId, options: Omit<Extract<Op, { op: 'rope' }>, 'op' | 'x' | 'out'>): ValueId {
    return this.#push(this.width(x), (out) => ({ op: 'rope', x, ...options, out }));
  }

  attention(input: Omit<Extract<Op, { op: 'attention' }>, 'op' | 'out'>): ValueId {
    return this.#push(input.numHeads * input.headDim, (out) => ({ op: 'attention', ...input, out }));
  }

  siluMul(gate: ValueId, up: ValueId): ValueId {
    return this.#push(this.width(gate), (out) => ({ op: 'siluMul', gate, up, out }));
  }

  add(a: ValueId, b: ValueId): ValueId {
    return this.#push(this.width(a), (out) => ({ op: 'add', a, b, out }));
  }

  /** From here on values have one row per logit row. */
  gatherRows(x: ValueId): ValueId {
    return this.#push(this.width(x), (out) => ({ op: 'gatherRows', x, out }));
  }

  logits(x: ValueId, weightName: string, vocabSize: number): ValueId {
    const weight = this.#parameter(weightName, [vocabSize, this.width(x)]);
    return this.#push(vocabSize, (out) => ({ op: 'logits', x, weight, out }));
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

  #parameter(name: string, shape: readonly number[]): WeightId {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) {
      throw new CheckpointError(
        `the checkpoint lacks tensor ${name} [${shape.join(', ')}]; config.json and weights do not belong together`,
        { details: { name, shape } },
      );
    }
    if (tensor.shape.length !== shape.length || tensor.shape.some((n, i) => n !== shape[i])) {
      throw new CheckpointError(
        `${tensor.file}: tensor ${name} has shape [${tensor.shape.join(', ')}]; config.json calls for [${shape.join(', ')}]`,
        {
          details: { name, shape: tensor.shape, wanted: shape },
        },
      );
    }
    const known = this.#weightIds.get(name);
    if (known !== undefined) return known;
    const id = this.weights.push(tensor) - 1;
    this.#weightIds.set(name, id);
    return id;
  }
}
