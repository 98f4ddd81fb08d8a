import { fromBfloat16, fromFloat16 } from '../half-precision.ts';
import { GGML_TYPES, type GgufDtype } from '../gguf/ggml-types.ts';

const f = Math.fround;

/** What the blocks of `dtype` stand for, rounded to f32 where ggml's reference rounds. */
export function decodeGgml(dtype: GgufDtype, bytes: Uint8Array): Float32Array {
  if (dtype === 'f32') return new Float32Array(Uint8Array.from(bytes).buffer);
  if (dtype === 'bf16') return Float32Array.from(new Uint16Array(Uint8Array.from(bytes).buffer), fromBfloat16);
  const { blockValues, blockBytes } = GGML_TYPES[dtype];
  const numBlocks = bytes.length / blockBytes;
  const values = new Float32Array(numBlocks * blockValues);
  for (let b = 0; b < numBlocks; b++) {
    const block = bytes.subarray(b * blockBytes, (b + 1) * blockBytes);
    decodeBlock(dtype, new DataView(block.buffer, block.byteOffset, blockBytes), (i, value) => {
      values[b * blockValues + i] = value;
    });
  }
  return values;
}

type Put = (index: number, value: number) => void;

function decodeBlock(dtype: Exclude<GgufDtype, 'f32' | 'bf16'>, block: DataView, put: Put): void {
  switch (dtype) {
    case 'f16':
      return put(0, half(block, 0));
    case 'q8_0':
      for (let i = 0; i < 32; i++) put(i, f(block.getInt8(2 + i) * half(block, 0)));
      return;
    case 'q4_0':
      for (let i = 0; i < 32; i++) put(i, f((nibble(block, 2 + (i % 16), i >= 16) - 8) * half(block, 0)));
      return;
    case 'q4_1':
      for (let i = 0; i < 32; i++) put(i, f(f(nibble(block, 4 + (i % 16), i >= 16) * half(block, 0)) + half(block, 2)));
      return;
    case 'q4_k':
    case 'q5_k':
      return decodeMinBlock(block, dtype === 'q5_k', put);
    case 'q6_k':
      return decodeQ6Block(block, put);
  }
}

/** 8 runs of 32, each with a scale and a minimum of 6 bits; the fifth bits of all codes, one plane a run, lie before them. */
function decodeMinBlock(block: DataView, hasFifthBit: boolean, put: Put): void {
  const codes = hasFifthBit ? 48 : 16;
  for (let run = 0; run < 8; run++) {
    const { scale, min } = scaleAndMin(block, run);
    const step = f(half(block, 0) * scale);
    const below = f(half(block, 2) * min);
    for (let i = 0; i < 32; i++) {
      const high = hasFifthBit ? ((block.getUint8(16 + i) >> run) & 1) << 4 : 0;
      const code = nibble(block, codes + (run >> 1) * 32 + i, run % 2 === 1) | high;
      put(run * 32 + i, f(f(step * code) - below));
    }
  }
}

/** The 12 bytes from the fourth on. */
function scaleAndMin(block: DataView, run: number): { scale: number; min: number } {
  const at = (i: number): number => block.getUint8(4 + i);
  if (run < 4) return { scale: at(run) & 63, min: at(run + 4) & 63 };
  return {
    scale: (at(run + 4) & 15) | ((at(run - 4) >> 6) << 4),
    min: (at(run + 4) >> 4) | ((at(run) >> 6) << 4),
  };
}

/** 16 runs of 16 with signed scales; codes of 6 bits around 32, four in low and two in high bits. */
function decodeQ6Block(block: DataView, put: Put): void {
  for (let i = 0; i < 256; i++) {
    const part = i >> 7;
    const quarter = (i >> 5) & 3;
    const lane = i & 31;
    const low = nibble(block, part * 64 + (quarter % 2) * 32 + lane, quarter >= 2);
    const high = (block.getUint8(128 + part * 32 + lane) >> (2 * quarter)) & 3;
    const scale = f(half(block, 208) * block.getInt8(192 + (i >> 4)));
    put(i, f(scale * ((low | (high << 4)) - 32)));
  }
}

function half(block: DataView, at: number): number {
  return fromFloat16(block.getUint16(at, true));
}

function nibble(block: DataView, at: number, high: boolean): number {
  const byte = block.getUint8(at);
  return high ? byte >> 4 : byte & 15;
}
