import type { Dtype } from '@skein/native';
import { DTYPE_BYTES } from '../dtype.ts';
import { toBfloat16, toFloat16 } from '../half-precision.ts';
import { tensorBytes, type TensorToWrite } from '../safetensors-writer.ts';

const BLOCK_VALUES_MAX = 4 * 2 ** 20;
const STANDARD_DEVIATION = 0.02;

/** Makes tensors of one checkpoint. All are cut from one block of normal numbers, each chunk from an offset that follows from
 *  seed and name: that writes as fast as a disk takes it, and the same bytes every time. */
export class RandomWeights {
  readonly #dtype: Dtype;
  readonly #seed: number;
  readonly #blockValues: number;
  readonly #block: Uint8Array;

  /** @param tensorValuesMax size of the largest tensor, in values. */
  constructor(dtype: Dtype, seed: number, tensorValuesMax: number) {
    this.#dtype = dtype;
    this.#seed = seed;
    this.#blockValues = Math.min(BLOCK_VALUES_MAX, 4 * tensorValuesMax);
    this.#block = encode(normalNumbers(this.#blockValues, seed), dtype);
  }

  /** Normal with deviation 0.02. */
  normal(name: string, shape: readonly number[]): TensorToWrite {
    const block = this.#block;
    const numOffsets = this.#blockValues / 2;
    const bytesPerValue = DTYPE_BYTES[this.#dtype];
    const random = generator(this.#seed ^ hashName(name));
    const total = tensorBytes({ dtype: this.#dtype, shape });
    return {
      name,
      dtype: this.#dtype,
      shape,
      *chunks() {
        for (let left = total; left > 0;) {
          const offset = (random() % numOffsets) * bytesPerValue;
          const chunk = block.subarray(offset, Math.min(block.length, offset + left));
          left -= chunk.length;
          yield chunk;
        }
      },
    };
  }

  constant(name: string, shape: readonly number[], value: number): TensorToWrite {
    const values = new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value);
    const bytes = encode(values, this.#dtype);
    return { name, dtype: this.#dtype, shape, chunks: () => [bytes] };
  }
}

/** Splitmix32: 32 random bits a call. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
}

function hashName(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash;
}

function normalNumbers(count: number, seed: number): Float32Array {
  const random = generator(seed);
  const values = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = STANDARD_DEVIATION * Math.sqrt(-2 * Math.log((random() + 1) / 2 ** 32));
    const angle = (2 * Math.PI * random()) / 2 ** 32;
    values[i] = radius * Math.cos(angle);
    values[i + 1] = radius * Math.sin(angle);
  }
  return values;
}

function encode(values: Float32Array, dtype: Dtype): Uint8Array {
  if (dtype === 'f32') return new Uint8Array(values.buffer);
  return new Uint8Array(Uint16Array.from(values, dtype === 'bf16' ? toBfloat16 : toFloat16).buffer);
}
