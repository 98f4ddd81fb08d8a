import { closeSync, openSync, readSync } from 'node:fs';
import type { KVCacheSpec, Op, ProgramSpec, WeightSource } from '@skein/native';
import { ggufTensorBytes, isGgufDtype } from '../gguf/ggml-types.ts';
import { dequantize } from './dequantize.ts';
import { decodeGgml } from './ggml-decode.ts';
import { storedRow } from './kv-cache-row.ts';
import { absorbKey, expandValue, latentAttention } from './latent-ops.ts';
import { addExperts, expertOutputs, route } from './mixture-ops.ts';
import { readStepInput, type StepWords } from './step-words.ts';
import { besides, dot, dotAt, fail, linear, pickBits, row, rows, softmaxInPlace, type Value, zip } from './value.ts';

export { ropeRowOrder } from './rope-rows.ts';
export { decodeGgml, dequantize };

/** The plain meaning of a recorded program, for tests of recordings and of backends: sums in f64, values and cache rounded to
 *  their types, one row after another. Greedy sampling only. */
export class ProgramInterpreter {
  readonly #spec: ProgramSpec;
  readonly #weights: readonly Float32Array[];
  readonly #cache: readonly Float32Array[];
  readonly #slots: Int32Array;
  readonly #links = new Map<string, Link>();
  #logits: Float32Array | null = null;
  #queue: Promise<unknown> = Promise.resolve();
  #feedbackStep = -1;

  constructor(spec: ProgramSpec) {
    this.#spec = spec;
    this.#weights = spec.weights.map(readWeight);
    this.#cache = spec.kvCache.layers.map(
      (l) =>
        new Float32Array(
          spec.kvCache.numBlocks *
            spec.kvCache.blockSize *
            (l.kind === 'heads' ? 2 * l.numKVHeads * l.headDim : l.latentDim + l.ropeDim),
        ),
    );
    this.#slots = new Int32Array(spec.limits.numSlots);
  }

  /** Binds a peer name, for sending or for receiving. */
  connect(direction: 'send' | 'recv', peer: string, link: Link): void {
    this.#links.set(`${direction} ${peer}`, link);
  }

  /** Sampled ids by row, -1 for rows that score; empty unless the program samples. Runs queue up. */
  run(input: Int32Array): Promise<number[]> {
    const result = this.#queue.then(() => this.#step(readStepInput(input)));
    this.#queue = result.catch(() => {});
    return result;
  }

  lastLogits(): Float32Array | null {
    return this.#logits;
  }

  async #step(step: StepWords): Promise<number[]> {
    const values = new Map<number, Value>();
    const value = (id: number): Value => values.get(id) ?? fail(`value ${id} is read before it is written`);
    let sampled: number[] = [];
    for (const op of this.#spec.ops) {
      if (op.op === 'recvTokens') await this.#recvTokens(op.peer, step.feedbackStep);
      else if (op.op === 'sendTokens')
        this.#link('send', op.peer).push({
          step: step.step,
          data: Float32Array.from(step.rowSlot.flatMap((slot, r) => (slot < 0 ? [] : [slot, sampled[r] ?? 0]))),
        });
      else if (op.op === 'send') {
        const { width, data } = value(op.x);
        const sent = data.filter((_, i) => i % width >= op.firstCol && i % width < op.firstCol + op.width);
        this.#link('send', op.peer).push({ step: step.step, data: sent });
      } else if (op.op === 'recv') {
        const { step: sent, data } = await this.#link('recv', op.peer).shift();
        if (sent !== step.step) fail(`step ${step.step} received step ${sent}`);
        values.set(op.out, { width: op.width, data });
      } else if (op.op === 'allGather') {
        const parts = await this.#exchange(op.group, value(op.x).data, step.step);
        values.set(op.out, besides(parts.map((data, r) => ({ width: op.widths[r] ?? 0, data }))));
      } else if (op.op === 'allReduce') {
        const { width, data } = value(op.x);
        const parts = await this.#exchange(op.group, data, step.step);
        if (op.reduction === 'pick') values.set(op.out, { width, data: pickBits(parts) });
        else {
          const bias = op.bias === null ? null : this.#weight(op.bias);
          const sum = data.map((_, i) => parts.reduce((total, part) => total + (part[i] ?? 0), bias?.[i % width] ?? 0));
          values.set(op.out, { width, data: sum });
        }
      } else if (op.op === 'experts') {
        const [x, routes] = [value(op.x), value(op.routes)];
        const own = expertOutputs(op, { x, routes }, (id) => this.#weight(id));
        const all = op.spread === null ? own : pickBits(await this.#exchange(op.spread.group, own, step.step));
        values.set(op.out, addExperts(all, routes, x.width));
      } else if (op.op === 'sample') sampled = this.#sample(value(op.logits), step);
      else values.set(op.out, this.#compute(op, value, step));
    }
    return sampled;
  }

  #compute(op: Extract<Op, { out: number }>, value: (id: number) => Value, step: StepWords): Value {
    switch (op.op) {
      case 'embed':
        return this.#embed(op, step);
      case 'rmsNorm':
        return rmsNorm(value(op.x), this.#weight(op.weight), op);
      case 'linear':
        return linear(value(op.x), this.#weight(op.weight), op.bias === null ? null : this.#weight(op.bias));
      case 'logits': {
        const logits = linear(value(op.x), this.#weight(op.weight), null);
        if (op.softCap !== null) capInPlace(logits.data, op.softCap);
        return logits;
      }
      case 'rope':
        return rope(value(op.x), op, step.position);
      case 'attention':
        return attention(
          op,
          { q: value(op.q), k: value(op.k), v: value(op.v) },
          { step, cache: this.#cache[op.cacheLayer] ?? fail('no such cache layer'), spec: this.#spec.kvCache },
        );
      case 'absorbKey':
        return absorbKey(op, value(op.q), this.#weight(op.weight));
      case 'latentAttention':
        return latentAttention(
          op,
          { q: value(op.q), latent: value(op.latent), keyRope: value(op.keyRope) },
          { step, cache: this.#cache[op.cacheLayer] ?? fail('no such cache layer'), spec: this.#spec.kvCache },
        );
      case 'expandValue':
        return expandValue(op, value(op.x), this.#weight(op.weight));
      case 'route':
        return route(op, value(op.logits), op.correctionBias === null ? null : this.#weight(op.correctionBias));
      case 'siluMul':
        return zip(value(op.gate), value(op.up), (g, u) => (g / (1 + Math.exp(-g))) * u);
      case 'geluTanhMul':
        return zip(value(op.gate), value(op.up), (g, u) => geluTanh(g) * u);
      case 'add':
        return zip(value(op.a), value(op.b), (a, b) => a + b);
      case 'gatherRows':
        return rows(value(op.x).width, step.rowToken, (r, out) => out.set(row(value(op.x), r)));
      case 'recv':
      case 'experts':
      case 'allGather':
      case 'allReduce':
        return fail('handled by the caller');
    }
  }

  /** What every rank of the group has, in the order of ranks. */
  async #exchange(group: string, data: Float32Array, step: number): Promise<Float32Array[]> {
    const { rank: own, size } = this.#spec.groups.find(({ name }) => name === group) ?? fail(`no group ${group}`);
    const others = [...Array(size).keys()].filter((rank) => rank !== own);
    for (const rank of others) this.#link('send', `${group}/${rank}`).push({ step, data });
    const all: Float32Array[] = [];
    for (const rank of [...Array(size).keys()])
      all.push(rank === own ? data : (await this.#link('recv', `${group}/${rank}`).shift()).data);
    return all;
  }

  #embed(op: Extract<Op, { op: 'embed' }>, step: StepWords): Value {
    const weight = this.#weight(op.weight);
    const [numRows = 0, width = 0] = this.#spec.weights[op.weight]?.shape ?? [];
    return rows(width, step.tokenIds, (id, out) => {
      const token = (id >= 0 ? id : (this.#slots[-1 - id] ?? fail(`no slot ${-1 - id}`))) - op.firstId;
      if (token < 0 || token >= numRows) return;
      out.set(weight.subarray(token * width, (token + 1) * width).map((x) => x * op.scale));
    });
  }

  #sample(logits: Value, step: StepWords): number[] {
    this.#logits = logits.data;
    return step.rowTarget.map((target, r) => {
      if (target >= 0) return target;
      const scores = row(logits, r);
      const id = scores.reduce((best, score, i) => (score > (scores[best] ?? 0) ? i : best), 0);
      const slot = step.rowSlot[r] ?? -1;
      if (slot >= 0) this.#slots[slot] = id;
      return id;
    });
  }

  async #recvTokens(peer: string, feedbackStep: number): Promise<void> {
    while (this.#feedbackStep < feedbackStep) {
      const { step, data } = await this.#link('recv', peer).shift();
      for (let i = 0; i < data.length; i += 2) this.#slots[data[i] ?? 0] = data[i + 1] ?? 0;
      this.#feedbackStep = step;
    }
  }

  #weight(id: number): Float32Array {
    return this.#weights[id] ?? fail(`no weight ${id}`);
  }

  #link(direction: 'send' | 'recv', peer: string): Link {
    return this.#links.get(`${direction} ${peer}`) ?? fail(`${direction} ${peer} is not connected`);
  }
}

interface Message {
  readonly step: number;
  readonly data: Float32Array;
}

/** One direction between two interpreters. */
export class Link {
  readonly #messages: Message[] = [];
  readonly #waiting: ((message: Message) => void)[] = [];

  push(message: Message): void {
    const waiter = this.#waiting.shift();
    if (waiter === undefined) this.#messages.push(message);
    else waiter(message);
  }

  shift(): Promise<Message> {
    const message = this.#messages.shift();
    return message === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(message);
  }
}

function rmsNorm(x: Value, weight: Float32Array, op: Extract<Op, { op: 'rmsNorm' }>): Value {
  const width = weight.length;
  const normed = { width: x.width, data: new Float32Array(x.data.length) };
  for (let at = 0; at < x.data.length; at += width) {
    const from = x.data.subarray(at, at + width);
    const scale = 1 / Math.sqrt(dot(from, from) / width + op.eps);
    for (let i = 0; i < width; i++) normed.data[at + i] = (from[i] ?? 0) * scale * ((weight[i] ?? 0) + op.weightOffset);
  }
  return normed;
}

function geluTanh(x: number): number {
  return (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

function capInPlace(values: Float32Array | Float64Array, cap: number): void {
  for (let i = 0; i < values.length; i++) values[i] = cap * Math.tanh((values[i] ?? 0) / cap);
}

function rope(x: Value, op: Extract<Op, { op: 'rope' }>, positions: readonly number[]): Value {
  const half = op.rotaryDim / 2;
  return rows(x.width, positions, (position, out, t) => {
    out.set(row(x, t));
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(position * (op.inverseFrequencies[i] ?? 0));
      const cos = Math.cos(angle) * op.attentionFactor;
      const sin = Math.sin(angle) * op.attentionFactor;
      for (let at = op.rotaryStart; at < x.width; at += op.headDim) {
        const first = op.interleaved ? at + 2 * i : at + i;
        const second = op.interleaved ? first + 1 : first + half;
        const a = out[first] ?? 0;
        const b = out[second] ?? 0;
        out[first] = a * cos - b * sin;
        out[second] = b * cos + a * sin;
      }
    }
  });
}

interface Inputs {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
}

interface CacheLayer {
  readonly step: StepWords;
  /** [numBlocks, 2, numKVHeads, blockSize, headDim]. */
  readonly cache: Float32Array;
  readonly spec: KVCacheSpec;
}

function attention(
  op: Extract<Op, { op: 'attention' }>,
  { q, k, v }: Inputs,
  { step, cache, spec }: CacheLayer,
): Value {
  const { headDim, numKVHeads } = op;
  const headSize = spec.blockSize * headDim;
  /** Where the key of head 0 at a position lies; its value lies numKVHeads * headSize further on. */
  const placeOf = (blocks: readonly number[], position: number): number => {
    const block = blocks[Math.floor(position / spec.blockSize)] ?? fail(`no block for position ${position}`);
    return block * 2 * numKVHeads * headSize + (position % spec.blockSize) * headDim;
  };
  const toValue = numKVHeads * headSize;
  for (const [t, position] of step.position.entries()) {
    const place = placeOf(step.blocks[t] ?? [], position);
    for (let head = 0; head < numKVHeads; head++) {
      for (const [part, x] of [k, v].entries()) {
        cache.set(
          storedRow(spec.dtype, row(x, t).subarray(head * headDim, (head + 1) * headDim)),
          place + head * headSize + part * toValue,
        );
      }
    }
  }
  return rows(q.width, step.position, (position, out, t) => {
    const first = op.window === null ? 0 : Math.max(0, position + 1 - op.window);
    const places = new Int32Array(position + 1 - first).map((_, p) => placeOf(step.blocks[t] ?? [], first + p));
    const shares = new Float64Array(places.length);
    for (let h = 0; h < op.numHeads; h++) {
      const key = Math.floor(h / (op.numHeads / numKVHeads)) * headSize;
      const query = t * q.width + h * headDim;
      for (let p = 0; p < shares.length; p++)
        shares[p] = dotAt(q.data, query, cache, (places[p] as number) + key, headDim) * op.scale;
      if (op.softCap !== null) capInPlace(shares, op.softCap);
      softmaxInPlace(shares);
      const sums = new Float64Array(headDim);
      for (let p = 0; p < shares.length; p++) {
        const value = (places[p] as number) + key + toValue;
        const share = shares[p] as number;
        for (let i = 0; i < headDim; i++) sums[i] = (sums[i] as number) + share * (cache[value + i] as number);
      }
      out.set(sums, h * headDim);
    }
  });
}

function readPart(file: string, start: number, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  const opened = openSync(file, 'r');
  try {
    if (readSync(opened, bytes, 0, sizeBytes, start) < sizeBytes) fail(`${file} ends before ${start + sizeBytes}`);
  } finally {
    closeSync(opened);
  }
  return bytes;
}

function readWeight(source: WeightSource): Float32Array {
  const { name, shape, stored, firstRow, firstCol, quantize } = source;
  if (quantize !== null) return fail(`${name} is quantized when it is loaded`);
  if (stored.format !== 'plain') return dequantize({ shape, firstRow }, stored);
  const { file, dtype, offsetBytes } = stored.tensor;
  if (!isGgufDtype(dtype)) return fail(`${name} is ${dtype}`);
  const [numRows = 1, numCols = 1] = shape;
  const wholeCols = stored.tensor.shape[1] ?? 1;
  const wholeShape = shape.length === 1 ? shape : [numRows, wholeCols];
  const sizeBytes = ggufTensorBytes(dtype, wholeShape) ?? fail(`${name} has rows of broken blocks`);
  const start = offsetBytes + firstRow * (sizeBytes / numRows);
  const whole = decodeGgml(dtype, readPart(file, start, sizeBytes));
  if (wholeShape === shape || wholeCols === numCols) return whole;
  const weight = new Float32Array(numRows * numCols);
  for (let r = 0; r < numRows; r++)
    weight.set(whole.subarray(r * wholeCols + firstCol, r * wholeCols + firstCol + numCols), r * numCols);
  return weight;
}
