import type { Device, NativeAddon, ProgramSpec, WeightId } from '@skein/native';
import { kvBlockBytes } from '../kv-cache-size.ts';
import { type FormationShape, type RankChannel, rankChannels } from '../rank-channels.ts';
import type { RankProgram } from './rank-program.ts';
import { weightBytes } from './weight-bytes.ts';

/** What a rank takes of its device's memory. */
export interface RankMemory {
  readonly stage: number;
  readonly weightBytes: number;
  /** Values between operations, of a step as large as steps may be. */
  readonly bufferBytes: number;
  /** Logits of rows that need them whole, beyond what buffers have room for; steps without such rows touch none of it. */
  readonly logitBytes: number;
  /** What a rank takes beside its model: of a GPU for context, kernels and collectives, on a CPU for running at all. */
  readonly runtimeBytes: number;
  /** Its half of what it shares with the ranks that it exchanges values with. */
  readonly channelBytes: number;
  /** What a token keeps in the KV cache. */
  readonly kvTokenBytes: number;
}

/** Predicts what a device holds for a rank. */
export type MemoryModel = (rank: RankProgram, shape: FormationShape) => RankMemory;

/** Context and kernels of a GPU, and the buffers of its collectives. */
const GPU_RUNTIME_BYTES = 2 ** 30;
/** What a rank on CPUs takes once it runs, beyond one that has joined and waits: its heap grows by the program and what steps
 *  allocate, code is compiled, and the addon's own pages and each thread's room for sums are touched. */
const CPU_RUNTIME_BYTES = 10 * 2 ** 20;
const FLOAT_BYTES = 4;

/** Of a GPU, by formula: weights as they are stored; for each token of a step three values of the model's width, two of the rank's
 *  widest layer and the widest one that ranks put together; logits of the rows of a step; all f32. */
export const gpuMemory: MemoryModel = ({ stage, spec }) => {
  const { maxTokens, maxRows, maxSeqs } = spec.limits;
  const widths = valueWidths(spec);
  const tokenWidth = 3 * widths.hidden + 2 * widths.widest + widths.gathered;
  return {
    stage,
    weightBytes: spec.weights.reduce((bytes, weight) => bytes + weightBytes(weight), 0),
    bufferBytes: maxTokens * tokenWidth * FLOAT_BYTES,
    logitBytes: Math.min(maxRows, maxSeqs) * widths.logits * FLOAT_BYTES,
    runtimeBytes: GPU_RUNTIME_BYTES,
    channelBytes: 0,
    kvTokenBytes: kvTokenBytes(spec),
  };
};

/** Floats of a token, and for `logits` of a row: the rank's own and, of several ranks, all of them. */
function valueWidths({ ops, weights }: ProgramSpec) {
  let [hidden, widest, gathered, logits, chosen] = [0, 0, 0, 0, 0];
  const rows = (id: WeightId): number => weights[id]?.shape[0] ?? 0;
  const ofLogits = new Set<number>();
  for (const op of ops) {
    if (op.op === 'embed') hidden = weights[op.weight]?.shape[1] ?? 0;
    if (op.op === 'rmsNorm') hidden = Math.max(hidden, rows(op.weight));
    if (op.op === 'linear') widest = Math.max(widest, rows(op.weight));
    if (op.op === 'route') chosen = op.topK;
    if (op.op === 'experts' && op.experts[0]) widest = Math.max(widest, chosen * rows(op.experts[0].gate));
    if (op.op === 'logits') {
      logits += rows(op.weight);
      ofLogits.add(op.out);
    }
    if (op.op === 'allGather') {
      const width = op.widths.reduce((sum, part) => sum + part, 0);
      if (ofLogits.has(op.x)) logits += width;
      else gathered = Math.max(gathered, width);
    }
  }
  return { hidden, widest, gathered, logits };
}

/** Of ranks on CPUs of this machine: what the addon plans for the program, asked of it without loading a weight. `capacityBytes` are
 *  those of a channel, by what it carries. */
export function cpuMemory(
  addon: Pick<NativeAddon, 'createProgram'>,
  device: Device,
  capacityBytes: Readonly<Record<RankChannel['carries'], number>>,
): MemoryModel {
  return ({ stage, spec }, shape) => {
    const planned = (maxRows: number) => {
      const program = addon.createProgram(device, { ...spec, limits: { ...spec.limits, maxRows } });
      try {
        return program.memory;
      } finally {
        program.close();
      }
    };
    const { maxRows, maxSeqs } = spec.limits;
    // Only logprobs of prompts ask for more rows than there are sequences.
    const [all, withoutRows] = [planned(Math.min(maxRows, maxSeqs)), planned(1)];
    const own = stage * shape.tensorSize;
    const channels = rankChannels(shape).filter(({ from, to }) => from === own || to === own);
    return {
      stage,
      weightBytes: all.weightBytes,
      bufferBytes: withoutRows.bufferBytes,
      logitBytes: all.bufferBytes - withoutRows.bufferBytes,
      runtimeBytes: CPU_RUNTIME_BYTES,
      // Either end has half of a channel's pages.
      channelBytes: channels.reduce((bytes, { carries }) => bytes + capacityBytes[carries] / 2, 0),
      kvTokenBytes: kvTokenBytes(spec),
    };
  };
}

function kvTokenBytes({ kvCache: { layers, blockSize, dtype } }: ProgramSpec): number {
  return kvBlockBytes(layers, { blockSize, dtype }) / blockSize;
}
