import type { Recommendation } from '@skein/models';

/** How a formation lies on LeaderWorkerSet's groups. */
export interface GroupLayout {
  /** Groups: each a leader with an endpoint of its own. */
  readonly replicas: number;
  /** Pods of a group. */
  readonly size: number;
  readonly devicesPerPod: number;
}

/** Ranks of a tensor group stay in one pod where it has room for them, stages and the groups that share experts go over pods. */
export function groupLayout({ chosen: { degrees }, planning: { devices } }: Recommendation): GroupLayout {
  const { tensor, pipeline, data, isExpertParallel } = degrees;
  const ranks = tensor * pipeline * (isExpertParallel ? data : 1);
  const divides = Array.from({ length: devices.perHost }, (_, i) => i + 1).filter((n) => ranks % n === 0);
  const devicesPerPod = divides.findLast((n) => n % tensor === 0) ?? divides.findLast((n) => tensor % n === 0) ?? 1;
  return { replicas: isExpertParallel ? 1 : data, size: ranks / devicesPerPod, devicesPerPod };
}

/** The flags of the formation, as `skein up` takes them; `replicas` are those of a whole cluster on one machine. */
export function degreeFlags(plan: Recommendation, of: 'cluster' | 'group'): string[] {
  const { tensor, pipeline, data, isExpertParallel, layerPartition } = plan.chosen.degrees;
  return [
    `--tensor-parallel-size=${tensor}`,
    `--pipeline-parallel-size=${pipeline}`,
    ...(of === 'cluster' || isExpertParallel ? [`--data-parallel-size=${data}`] : []),
    ...(isExpertParallel ? ['--enable-expert-parallel'] : []),
    ...(layerPartition === null ? [] : [`--pp-layer-partition=${layerPartition.join(',')}`]),
  ];
}

/** The flags of the load. */
export function loadFlags({ planning: { checkpoint, load } }: Recommendation): string[] {
  return [
    `--max-model-len=${load.context}`,
    `--max-num-seqs=${load.limits.maxSeqs}`,
    `--max-num-batched-tokens=${load.limits.maxTokens}`,
    ...(checkpoint.quantization === 'none' ? [] : [`--quantization=${checkpoint.quantization}`]),
    ...(load.numBlocks === null ? [] : [`--num-gpu-blocks-override=${load.numBlocks}`]),
    ...(load.redundantExperts === 0 ? [] : [`--num-redundant-experts=${load.redundantExperts}`]),
  ];
}
