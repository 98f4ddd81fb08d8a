import type { Op } from '@skein/native';
import type { ModelConfig } from '../model-config.ts';
import type { ProgramRecorder } from '../program-recorder.ts';
import type { BlockCosts } from './stage-balance.ts';
import { weightBytes } from './weight-bytes.ts';

/** What of a model decides how it can be split. */
export interface ModelFacts {
  readonly parameters: number;
  readonly weightBytes: number;
  readonly numLayers: number;
  readonly numHeads: number;
  /** Null where all heads share one latent row. */
  readonly numKVHeads: number | null;
  /** Of a mixture's layer; 0 for a dense model. */
  readonly numExperts: number;
  readonly expertsPerToken: number;
  /** Of `weightBytes`, those of experts. */
  readonly expertBytes: number;
  /** Of a step that reads all weights. */
  readonly costs: BlockCosts;
}

/** Of a model that was recorded whole. */
export function modelFacts({ numLayers }: Pick<ModelConfig, 'numLayers'>, recorder: ProgramRecorder): ModelFacts {
  const { ops, weights } = recorder;
  const experts = ops.filter((op): op is Extract<Op, { op: 'experts' }> => op.op === 'experts');
  const ofExperts = new Set(experts.flatMap((op) => op.experts.flatMap(({ gate, up, down }) => [gate, up, down])));
  const sum = (of: (typeof weights)[number][], bytes: (weight: (typeof weights)[number]) => number): number =>
    of.reduce((total, weight) => total + bytes(weight), 0);
  const attention = ops.find((op) => op.op === 'attention' || op.op === 'latentAttention');
  return {
    parameters: sum(weights, ({ shape }) => shape.reduce((a, b) => a * b, 1)),
    weightBytes: sum(weights, weightBytes),
    numLayers,
    numHeads: attention?.numHeads ?? 1,
    numKVHeads: attention?.op === 'attention' ? attention.numKVHeads : null,
    numExperts: Math.max(0, ...experts.map((op) => op.experts.length)),
    expertsPerToken: Math.max(0, ...ops.map((op) => (op.op === 'route' ? op.topK : 0))),
    expertBytes: sum(
      weights.filter((_, id) => ofExperts.has(id)),
      weightBytes,
    ),
    costs: {
      blocks: recorder.blocks.map(({ first, count }) => sum(weights.slice(first, first + count), weightBytes)),
      head: headBytes(recorder),
    },
  };
}

function headBytes({ ops, weights }: ProgramRecorder): number {
  const head = ops.find((op) => op.op === 'logits');
  const weight = head === undefined ? undefined : weights[head.weight];
  return weight === undefined ? 0 : weightBytes(weight);
}
