import { resolve } from 'node:path';
import {
  type BlockCosts,
  checkCheckpoint,
  defaultPartition,
  type ExpertPlacement,
  type GenerationConfig,
  type ModelConfig,
  type QuantizationOption,
  modelFacts,
  readCheckpointTensors,
  readGenerationConfig,
  readModel,
  recordWhole,
  resolveKVCacheDtype,
} from '@skein/models';
import type { KVCacheDtype } from '@skein/native';
import { ConfigError } from '../errors.ts';
import type { NodeOptions } from '../node-options.ts';
import { expertPlacements } from './expert-placements.ts';

/** What the leader knows of the model: everything but the weights and the tokenizer. */
export interface ServedModelFiles {
  readonly dir: string;
  /** What the API answers to; the first is its own. */
  readonly names: readonly string[];
  readonly config: ModelConfig;
  readonly generation: GenerationConfig | null;
  readonly numTensors: number;
  /** Tensors that inference does not read, among `numTensors`. */
  readonly numUnneededTensors: number;
  readonly kvDtype: KVCacheDtype;
  /** What the weights are quantized to, or how they are stored. */
  readonly quantization: QuantizationOption;
  readonly maxModelLen: number;
  /** Layers of each stage, in halves; null splits evenly. */
  readonly layerPartition: readonly number[] | null;
  /** What blocks read, where stages are to be timed; else null. */
  readonly costsToMeasure: BlockCosts | null;
  /** Where experts are; in runs where it is empty. */
  readonly expertPlacements: readonly ExpertPlacement[];
  readonly eosTokenIds: readonly number[];
}

export async function readServedModel(options: NodeOptions): Promise<ServedModelFiles> {
  const dir = resolve(options.model);
  const described = await readModel(dir);
  const { config } = described;
  const generation = await readGeneration(dir, options.generationConfig);
  const tensors = await readCheckpointTensors(dir);
  const checkpoint = { model: described, tensors, quantization: options.quantization };
  const unneededTensors = checkCheckpoint({ ...checkpoint, tensorSize: options.shape.tensorSize });
  const { stages } = options.shape;
  const placesExperts = options.numRedundantExperts > 0 || options.expertLoad !== null;
  const whole = options.expertParallel || placesExperts || stages > 1 ? recordWhole(checkpoint) : null;
  const facts = whole && modelFacts(config, whole);
  if (options.expertParallel && facts?.numExperts === 0) {
    throw new ConfigError(
      'ERR_OPTION',
      `--enable-expert-parallel is set, and ${config.architecture} has no experts; leave it out`,
    );
  }
  const kvDtype = resolveKVCacheDtype(options.kvCacheDtype, config, tensors);
  const maxModelLen = options.maxModelLen ?? config.maxPositionEmbeddings;
  if (maxModelLen > config.maxPositionEmbeddings) {
    throw new ConfigError(
      'ERR_MAX_MODEL_LEN',
      `--max-model-len ${maxModelLen} exceeds the model's max_position_embeddings ${config.maxPositionEmbeddings}`,
    );
  }
  const eosTokenIds = generation && generation.eosTokenIds.length > 0 ? generation.eosTokenIds : config.eosTokenIds;
  return {
    dir,
    names: options.servedModelNames,
    config,
    generation,
    numTensors: tensors.size,
    numUnneededTensors: unneededTensors.length,
    kvDtype,
    quantization: options.quantization === 'none' ? (config.quantization?.method ?? 'none') : options.quantization,
    maxModelLen,
    layerPartition: options.layerPartition ?? (facts && defaultPartition(facts.costs, stages)),
    costsToMeasure: options.measureStages ? (facts?.costs ?? null) : null,
    expertPlacements: whole && placesExperts ? await expertPlacements(options, { ...config, ops: whole.ops }) : [],
    eosTokenIds,
  };
}

async function readGeneration(dir: string, option: string): Promise<GenerationConfig | null> {
  if (option === 'vllm') return null;
  if (option === 'auto') return readGenerationConfig(dir);
  const generation = await readGenerationConfig(resolve(option));
  if (generation !== null) return generation;
  throw new ConfigError(
    'ERR_OPTION',
    `--generation-config is ${option}, which holds no generation_config.json; choose auto, vllm or a folder with one`,
  );
}
