import { PREFILL_TOKENS } from './engine.ts';
import type { GgufForm } from './gguf-checkpoint.ts';

/** Weights of both sides that stand beside each other. */
export interface WeightPair {
  /** What skein makes of the checkpoint in bf16 as it loads it; null where it reads the peer's file. */
  readonly quantization: 'none' | 'int8' | null;
  readonly gguf: GgufForm;
  readonly peer: string;
}

export type WeightName = 'bf16' | 'int8' | 'int4';

export const WEIGHTS: Readonly<Record<WeightName, WeightPair>> = {
  bf16: { quantization: 'none', gguf: { layers: 'f16', embedding: 'f16' }, peer: 'llama.cpp F16' },
  int8: { quantization: 'int8', gguf: { layers: 'q8_0', embedding: 'q8_0' }, peer: 'llama.cpp Q8_0' },
  // The embedding, which is the head too, has 4 bits as well.
  int4: { quantization: null, gguf: { layers: 'q4_0', embedding: 'q4_0' }, peer: 'llama.cpp Q4_0' },
};

export interface PeerCase {
  /** For --only, and to find its samples. */
  readonly id: string;
  readonly name: string;
  readonly weights: WeightName;
  readonly work:
    | { readonly kind: 'prefill' }
    | { readonly kind: 'decode'; readonly streams: number; readonly steps: number; readonly busyLoops: number }
    | { readonly kind: 'long'; readonly steps: number };
  /** skein ÷ llama.cpp. */
  readonly goal: number | null;
  /** What the hardware allows this work: `quiet` is skein's own speed without busy loops. */
  readonly limit: 'read' | 'fma' | 'int8' | 'int4' | 'quiet' | null;
  /** Share of that limit. */
  readonly limitGoal: number | null;
}

export const CASES: readonly PeerCase[] = [
  decode('bf16', { goal: 1.15, limitGoal: 0.85, steps: 16 }),
  decode('int8', { goal: 1.25, limitGoal: 0.8, steps: 24 }),
  decode('int4', { goal: 1.4, limitGoal: 0.8, steps: 32 }),
  prefill('bf16', { goal: 1.2, limit: 'fma', limitGoal: 0.8 }),
  prefill('int8', { goal: 2.2, limit: 'int8', limitGoal: null }),
  prefill('int4', { goal: 2.5, limit: 'int4', limitGoal: null }),
  streams(8),
  streams(16),
  long('bf16', { goal: 1.15, steps: 8 }),
  long('int4', { goal: null, steps: 16 }),
  busy('bf16', { loops: 1, goal: 1.4, steps: 8 }),
  busy('bf16', { loops: 2, goal: 1.6, steps: 8 }),
  busy('int4', { loops: 1, goal: 1.8, steps: 16 }),
  busy('int4', { loops: 2, goal: 2, steps: 16 }),
];

function decode(
  weights: WeightName,
  { goal, limitGoal, steps }: { goal: number; limitGoal: number; steps: number },
): PeerCase {
  const work = { kind: 'decode', streams: 1, steps, busyLoops: 0 } as const;
  return {
    id: `decode-${weights}`,
    name: `decode 1 stream, ${weights}`,
    weights,
    work,
    goal,
    limit: 'read',
    limitGoal,
  };
}

function prefill(
  weights: WeightName,
  { goal, limit, limitGoal }: { goal: number; limit: 'fma' | 'int8' | 'int4'; limitGoal: number | null },
): PeerCase {
  const name = `prefill ${PREFILL_TOKENS}, ${weights}`;
  return { id: `prefill-${weights}`, name, weights, work: { kind: 'prefill' }, goal, limit, limitGoal };
}

function streams(count: number): PeerCase {
  const work = { kind: 'decode', streams: count, steps: 8, busyLoops: 0 } as const;
  const name = `decode ${count} streams, int4`;
  return { id: `decode${count}-int4`, name, weights: 'int4', work, goal: 2.5, limit: null, limitGoal: null };
}

function long(weights: WeightName, { goal, steps }: { goal: number | null; steps: number }): PeerCase {
  const name = `decode 1 stream at 4096 tokens, ${weights}`;
  return { id: `long-${weights}`, name, weights, work: { kind: 'long', steps }, goal, limit: 'read', limitGoal: null };
}

function busy(weights: WeightName, { loops, goal, steps }: { loops: number; goal: number; steps: number }): PeerCase {
  const work = { kind: 'decode', streams: 1, steps, busyLoops: loops } as const;
  const name = `decode 1 stream beside ${loops} busy, ${weights}`;
  return { id: `busy${loops}-${weights}`, name, weights, work, goal, limit: 'quiet', limitGoal: 0.4 };
}
